"""One model from a hub into a folder: only what a model needs, resumably.

    python -m core.models.hub '{"hub": …, "repo": …, "revision": …, "file": null, "folder": …}'

`core.recipes.fetch` runs it as a child and watches the folder grow; what it prints is described in `core.hubs`, which
does the downloading. A model needs its safetensors (else its `.bin` weights), config, tokenizer and licence; no code,
no ONNX, no other framework's copies. An adapter's repository holds its factors instead. Torch-free.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.errors import InputError, ModelError
from core.hubs import TOKENS, HubFile, Plan, answer, download_all, hugging_face_files
from core.models.weights import ADAPTER, ADAPTER_BIN, VALUE_HEADS

SUFFIXES = (".json", ".model", ".txt", ".jinja", ".tiktoken")
ADAPTER_FILES = (ADAPTER, ADAPTER_BIN, *VALUE_HEADS)
PAPERS = ("README.md", "LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE", "USE_POLICY.md")


def choose_files(repo: str, files: Sequence[HubFile], wanted: str | None) -> list[HubFile]:
    """The files that a model needs out of everything in its repository.

    `wanted` names one GGUF file. Raises ModelError `model.hub_no_weights`, which lists the GGUF files there are.
    """
    if wanted is not None:
        found = [file for file in files if file.name == wanted]
        if not found:
            raise ModelError("model.hub_no_weights", model=repo, files=_listed(files, ".gguf"))
        return found
    top = [file for file in files if "/" not in file.name]
    small = [file for file in top if file.name.endswith(SUFFIXES) or file.name in PAPERS]
    weights = [file for file in top if file.name.endswith(".safetensors") and file.name not in ADAPTER_FILES]
    sharded = [file for file in weights if file.name.startswith("model-")]
    if any(file.name == "model.safetensors" for file in weights):
        weights = [file for file in weights if file.name == "model.safetensors"]
    elif sharded:
        weights = sharded
    adapter = [file for file in top if file.name in ADAPTER_FILES]
    if adapter and not weights:
        return [*small, *adapter]
    if not weights:
        weights = [file for file in top if file.name.startswith("pytorch_model") and file.name.endswith(".bin")]
        small = [file for file in small if not file.name.endswith(".safetensors.index.json")]
    else:
        small = [file for file in small if not file.name.endswith(".bin.index.json")]
    if not weights:
        raise ModelError("model.hub_no_weights", model=repo, files=_listed(files, ".gguf"))
    return [*small, *weights]


def _listed(files: Sequence[HubFile], suffix: str) -> str:
    names = [file.name for file in files if file.name.endswith(suffix)] or [file.name for file in files]
    return ", ".join(names[:12]) or "nothing"


def _huggingface(spec: dict[str, Any]) -> None:
    repo = spec["repo"]
    found = hugging_face_files("model", repo, spec["revision"])
    plan = Plan(choose_files(repo, found.files, spec["file"]), found.commit, found.licence)
    download_all("model", repo, plan, Path(spec["folder"]))


def _modelscope(spec: dict[str, Any]) -> None:
    try:
        from modelscope.hub.api import HubApi
        from modelscope.hub.snapshot_download import snapshot_download
    except ImportError as error:
        raise InputError("hub.no_modelscope") from error
    token = os.environ.get(TOKENS["modelscope"]) or None
    repo, folder = spec["repo"], Path(spec["folder"])
    revision = "master" if spec["revision"] == "main" else spec["revision"]
    listed = HubApi(token=token).get_model_files(repo, revision=revision, recursive=True)
    files = [
        HubFile(str(entry["Path"]), int(entry.get("Size") or 0)) for entry in listed if entry.get("Type") != "tree"
    ]
    plan = Plan(choose_files(repo, files, spec["file"]), revision)
    plan.announce(folder)
    names = [file.name for file in plan.files]
    snapshot_download(repo, revision=revision, local_dir=str(folder), allow_patterns=names, token=token)


if __name__ == "__main__":
    sys.exit(answer(sys.argv[1:], {"huggingface": _huggingface, "modelscope": _modelscope}))
