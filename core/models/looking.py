"""What can be seen of a model folder beside its weights: tokenizer, chat template, licence, whether it is safe.

Torch-free; nothing is loaded, and no code of the folder is run.
"""

from __future__ import annotations

import re
from pathlib import Path

from core.models import families
from core.models.weights import PUBLISHED, TOKENIZER_FILES, weight_files
from core.rundir import read_json

LICENCE = re.compile(r"^license:[ \t]*[\"']?([\w.\- ]+)", re.MULTILINE)


def looked_at(folder: Path) -> dict[str, str]:
    """tokenizer, template, safe, published_as: a few words each, or "". Raises as `families.read_config`."""
    config = families.read_config(folder)
    tokenizer = read_json(folder / "tokenizer_config.json")
    tokenizer = tokenizer if isinstance(tokenizer, dict) else {}
    file = next((name for name in TOKENIZER_FILES if (folder / name).is_file()), "none")
    own = bool(tokenizer.get("chat_template")) or (folder / "chat_template.jinja").is_file()
    code = "auto_map" in config or "auto_map" in tokenizer
    return {
        "tokenizer": f"{tokenizer.get('tokenizer_class') or 'of no class of its own'}, from {file}",
        "template": "its own" if own else f"none; {families.template_for(config)} suits its family",
        "safe": ("safetensors" if weight_files(folder) else "no safetensors")
        + (", with code of its own, which is not run" if code else ", no code"),
        "published_as": str((read_json(folder / PUBLISHED) or {}).get("model_type", "")),
    }


def licence_of(folder: Path) -> str | None:
    """What the front matter of a folder's README.md says."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8", errors="replace")[:5000]
    except OSError:
        return None
    found = LICENCE.search(text) if text.startswith("---") else None
    return found[1].strip() if found else None
