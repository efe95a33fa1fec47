"""One model from a hub into a folder, file by file: Hugging Face (or the mirror in HF_ENDPOINT), or ModelScope.

    python -m core.models.hub '{"hub": …, "repo": …, "revision": …, "file": null, "folder": …}'

`core.recipes.fetch` runs it as a child and watches the folder grow. It prints lines of JSON: first
`{"plan": {"total", "commit", "licence", "files"}}`, then `{}` when all is there, or `{"error": {"code", "params"}}`.
Files that are already whole are not got again, and half ones are continued (huggingface_hub begins them anew, so it
gives the list of files and the errors, and the bytes are fetched here). Only what a model needs is downloaded: its
safetensors (else its `.bin` weights), config, tokenizer and licence; no code, no ONNX, no other framework's copies.
Tokens come from the environment only. Torch-free.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from core.errors import GalenError, ModelError
from core.models.disk import require_space
from core.system import folder_size

HUBS = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}
TOKENS = {"huggingface": "HF_TOKEN", "modelscope": "MODELSCOPE_API_TOKEN"}
SUFFIXES = (".json", ".model", ".txt", ".jinja", ".tiktoken")
PAPERS = ("README.md", "LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE", "USE_POLICY.md")
RETRIES = 4
NETWORK_ERRORS = (
    "TransportError",
    "ConnectError",
    "ConnectTimeout",
    "ReadTimeout",
    "ConnectionError",
    "OfflineModeIsEnabled",
)


@dataclass(frozen=True)
class HubFile:
    """`sha256` is known for large files."""

    name: str
    size: int
    sha256: str | None = None


@dataclass(frozen=True)
class Plan:
    """What is going to be downloaded; sizes in bytes. `commit` pins the revision for every file."""

    files: list[HubFile]
    commit: str
    licence: str | None = None

    @property
    def total(self) -> int:
        return sum(file.size for file in self.files)


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
    weights = [file for file in top if file.name.endswith(".safetensors")]
    sharded = [file for file in weights if file.name.startswith("model-")]
    if any(file.name == "model.safetensors" for file in weights):
        weights = [file for file in weights if file.name == "model.safetensors"]
    elif sharded:
        weights = sharded
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


# -- Hugging Face -----------------------------------------------------------------------------------------------------
def _huggingface(repo: str, revision: str, wanted: str | None, folder: Path) -> None:
    from huggingface_hub import HfApi, hf_hub_url
    from huggingface_hub.utils._headers import build_hf_headers

    token = os.environ.get(TOKENS["huggingface"]) or False  # False: not even the one `hf auth login` stored
    info = HfApi(token=token).model_info(repo, revision=revision, files_metadata=True)
    files = [HubFile(one.rfilename, one.size or 0, one.lfs.sha256 if one.lfs else None) for one in info.siblings or []]
    plan = Plan(choose_files(repo, files, wanted), info.sha or revision, _licence(info.card_data))
    _keep_commit(folder, plan.commit)
    _announce(plan, folder)
    headers = build_hf_headers(token=token)
    for file in plan.files:
        download(hf_hub_url(repo, file.name, revision=plan.commit), headers, folder / file.name, file)


def _licence(card: Any) -> str | None:
    """The licence that a model card names; lists are joined."""
    named = getattr(card, "license", None) or None
    return ", ".join(map(str, named)) if isinstance(named, list) else named


def download(url: str, headers: dict[str, str], target: Path, file: HubFile) -> None:
    """Fetch `url` to `target`, going on where `target.part` ends. Raises ModelError `model.bad_checksum`.

    A connection that breaks is tried again a few times; what it raises in the end is an httpx.HTTPError.
    """
    if target.exists():
        return
    part = target.with_name(f"{target.name}.part")
    for attempt in range(RETRIES + 1):
        try:
            _continue(url, headers, part)
            break
        except httpx.TransportError:
            if attempt == RETRIES:
                raise
            time.sleep(attempt + 1)
    if file.sha256 is not None:
        with open(part, "rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        if found != file.sha256:
            part.unlink()
            raise ModelError("model.bad_checksum", file=file.name, found=found, expected=file.sha256)
    part.rename(target)


def _continue(url: str, headers: dict[str, str], part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    asked = {**headers, "Range": f"bytes={have}-"} if have else headers
    # httpx takes the token off when it is sent on to another host, as hubs do with large files.
    with httpx.stream("GET", url, headers=asked, follow_redirects=True, timeout=20) as response:
        if response.status_code == 416:  # nothing is left to send: the part is whole, or not of this file
            if response.headers.get("Content-Range") == f"bytes */{have}":
                return
            part.unlink()
        response.raise_for_status()
        with open(part, "ab" if response.status_code == 206 else "wb", buffering=0) as out:
            for piece in response.iter_bytes(1 << 20):
                out.write(piece)


def _keep_commit(folder: Path, commit: str) -> None:
    """Files of another commit must not be mixed with this one's."""
    mark = folder / ".commit"
    if folder.exists() and (not mark.exists() or mark.read_text() != commit):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(commit)


# -- ModelScope -------------------------------------------------------------------------------------------------------
def _modelscope(repo: str, revision: str, wanted: str | None, folder: Path) -> None:
    try:
        from modelscope.hub.api import HubApi
        from modelscope.hub.snapshot_download import snapshot_download
    except ImportError as error:
        raise ModelError("model.no_modelscope") from error
    token = os.environ.get(TOKENS["modelscope"]) or None
    revision = "master" if revision == "main" else revision
    listed = HubApi(token=token).get_model_files(repo, revision=revision, recursive=True)
    files = [
        HubFile(str(entry["Path"]), int(entry.get("Size") or 0)) for entry in listed if entry.get("Type") != "tree"
    ]
    plan = Plan(choose_files(repo, files, wanted), revision)
    _announce(plan, folder)
    names = [file.name for file in plan.files]
    snapshot_download(repo, revision=revision, local_dir=str(folder), allow_patterns=names, token=token)


def _announce(plan: Plan, folder: Path) -> None:
    require_space(folder, plan.total - folder_size(folder))
    _say({"plan": {"total": plan.total, "commit": plan.commit, "licence": plan.licence, "files": len(plan.files)}})


def _explained(error: Exception, spec: dict[str, Any]) -> ModelError:
    """A hub library's exception as one of ours, by class name: the two libraries share no base class."""
    names = {kind.__name__ for cause in (error, error.__cause__, error.__context__) for kind in type(cause).__mro__}
    hub, model, token = HUBS[spec["hub"]], spec["repo"], TOKENS[spec["hub"]]
    if "GatedRepoError" in names:
        return ModelError("model.hub_gated", model=model, hub=hub, token=token)
    if "RevisionNotFoundError" in names:
        return ModelError("model.hub_revision", model=model, revision=spec["revision"])
    if names & {"RepositoryNotFoundError", "NotExistError", "HFValidationError"}:
        return ModelError("model.hub_missing", model=model, hub=hub, token=token)
    if getattr(getattr(error, "response", None), "status_code", None) in (401, 403):  # a file, not the whole repository
        return ModelError("model.hub_gated", model=model, hub=hub, token=token)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    detail = (lines[0] if lines else type(error).__name__).rstrip(".")
    if names & set(NETWORK_ERRORS):
        where = os.environ.get("HF_ENDPOINT") if spec["hub"] == "huggingface" else None
        return ModelError("model.no_network", source=where or hub, detail=detail)
    return ModelError("model.hub_failed", hub=hub, model=model, detail=detail)


def _say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


def main(argv: list[str]) -> int:
    spec = json.loads(argv[0])
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    get = _huggingface if spec["hub"] == "huggingface" else _modelscope
    try:
        get(spec["repo"], spec["revision"], spec["file"], Path(spec["folder"]))
    except Exception as error:
        told = error if isinstance(error, GalenError) else _explained(error, spec)
        print(repr(error), file=sys.stderr)
        _say({"error": {"code": told.code, "params": told.params}})
        return 2
    _say({})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
