"""Files of a hub's repository into a folder: Hugging Face (or the mirror in HF_ENDPOINT), or ModelScope. Torch-free.

What models and datasets have in common: listing a repository, downloading resumably, and telling what went wrong.
Which files are wanted is told by `core.models.hub` and `bring.hub`, which run as child processes and print lines
of JSON: first `{"plan": {"total", "commit", "licence", "files"}}`, then `{}` when all is there, or
`{"error": {"code", "params"}}`. Files that are already whole are not got again, and half ones are continued
(huggingface_hub begins them anew, so it gives the list of files and the errors, and the bytes are fetched here).
Tokens come from the environment only.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx

from core.disk import require_space
from core.errors import GalenError, InputError
from core.system import folder_size

Repository = Literal["model", "dataset"]
Get = Callable[[dict[str, Any]], None]

HUBS = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}
TOKENS = {"huggingface": "HF_TOKEN", "modelscope": "MODELSCOPE_API_TOKEN"}
COMMIT_MARK = ".commit"
RETRIES = 4
NETWORK_ERRORS = {
    "TransportError", "ConnectError", "ConnectTimeout", "ReadTimeout", "ConnectionError", "OfflineModeIsEnabled",
}  # fmt: skip


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

    def announce(self, folder: Path) -> None:
        """Tell the parent what is coming. Raises InputError `disk.no_space` where it would not fit."""
        require_space(folder, self.total - folder_size(folder))
        names = [file.name for file in self.files]
        say({"plan": {"total": self.total, "commit": self.commit, "licence": self.licence, "files": names}})


# -- Hugging Face -----------------------------------------------------------------------------------------------------
def hugging_face_files(kind: Repository, repo: str, revision: str) -> Plan:
    """Everything that a repository of Hugging Face holds at `revision`."""
    from huggingface_hub import HfApi

    api = HfApi(token=_token())
    look = api.model_info if kind == "model" else api.dataset_info
    info = look(repo, revision=revision, files_metadata=True)
    files = [HubFile(one.rfilename, one.size or 0, one.lfs.sha256 if one.lfs else None) for one in info.siblings or []]
    return Plan(files, info.sha or revision, _licence(info.card_data))


def download_all(kind: Repository, repo: str, plan: Plan, folder: Path) -> None:
    """The files of `plan` from Hugging Face into `folder`, below the folders that their names begin with."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils._headers import build_hf_headers

    _keep_commit(folder, plan.commit)
    plan.announce(folder)
    headers = build_hf_headers(token=_token())
    for file in plan.files:
        url = hf_hub_url(repo, file.name, repo_type=kind, revision=plan.commit)
        download(url, headers, inside(folder, file.name), file)


def _token() -> str | Literal[False]:
    return os.environ.get(TOKENS["huggingface"]) or False  # False: not even the one `hf auth login` stored


def _licence(card: Any) -> str | None:
    """The licence that a card names; lists are joined."""
    named = getattr(card, "license", None) or None
    return ", ".join(map(str, named)) if isinstance(named, list) else named


def inside(folder: Path, name: str) -> Path:
    """Where a hub's file goes. Raises InputError `hub.failed` for a name that leads out of `folder`."""
    target = folder / name
    if not target.resolve().is_relative_to(folder.resolve()):
        raise InputError("hub.failed", hub=HUBS["huggingface"], repo=name, detail="it names a file outside its folder")
    return target


def download(url: str, headers: dict[str, str], target: Path, file: HubFile) -> None:
    """Fetch `url` to `target`, going on where `target.part` ends. Raises InputError `file.bad_checksum`.

    A connection that breaks is tried again a few times; what it raises in the end is an httpx.HTTPError.
    """
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
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
            raise InputError("file.bad_checksum", file=file.name, found=found, expected=file.sha256)
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
    mark = folder / COMMIT_MARK
    if folder.exists() and (not mark.exists() or mark.read_text() != commit):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(commit)


# -- what went wrong --------------------------------------------------------------------------------------------------
def explained(error: Exception, spec: dict[str, Any]) -> InputError:
    """A hub library's exception as one of ours, by class name: the two libraries share no base class."""
    names = {kind.__name__ for cause in (error, error.__cause__, error.__context__) for kind in type(cause).__mro__}
    hub, repo, token = HUBS[spec["hub"]], spec["repo"], TOKENS[spec["hub"]]
    if "GatedRepoError" in names:
        return InputError("hub.gated", repo=repo, hub=hub, token=token)
    if "RevisionNotFoundError" in names:
        return InputError("hub.revision", repo=repo, revision=spec["revision"])
    if names & {"RepositoryNotFoundError", "NotExistError", "HFValidationError"}:
        return InputError("hub.missing", repo=repo, hub=hub, token=token)
    if getattr(getattr(error, "response", None), "status_code", None) in (401, 403):  # a file, not the whole repository
        return InputError("hub.gated", repo=repo, hub=hub, token=token)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    detail = (lines[0] if lines else type(error).__name__).rstrip(".")
    if names & NETWORK_ERRORS:
        where = os.environ.get("HF_ENDPOINT") if spec["hub"] == "huggingface" else None
        return InputError("hub.no_network", source=where or hub, detail=detail)
    return InputError("hub.failed", hub=hub, repo=repo, detail=detail)


# -- the child's side -------------------------------------------------------------------------------------------------
def say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


def answer(argv: list[str], get: dict[str, Get]) -> int:
    """The whole `main` of a child: `get[hub](spec)` with the JSON object in `argv`; returns its exit status."""
    spec = json.loads(argv[0])
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        get[spec["hub"]](spec)
    except Exception as error:
        told = error if isinstance(error, GalenError) else explained(error, spec)
        print(repr(error), file=sys.stderr)
        say({"error": {"code": told.code, "params": told.params}})
        return 2
    say({})
    return 0
