"""The data files of a hub's dataset, downloaded into a folder: resumably, with progress, and stopped at any moment.

    paths = fetch("shibing624/medical", files=["reward/train.json"], folder=folder, on_bytes=…, check_stop=…)

The download is a child process, as a model's is (`core.hubs` says what it prints and how it resumes), so a dead
connection ends as soon as a stop is asked for. Code of a repository is never run: a dataset that its authors made
loadable by a script only is refused with what to do instead. The token comes from the environment, and HF_ENDPOINT
names a mirror.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from core.children import run_child
from core.errors import DataError, InputError
from core.hubs import TOKENS, HubFile, Plan, answer, download_all, hugging_face_files, inside
from core.records import Record
from core.rundir import read_record, write_record
from core.system import folder_size, python_command

DATA = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt")
NO_DATA = {
    "dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json", "package.json", "requirements.txt",
    "license.txt", "licence.txt", "readme.txt", "robots.txt",
}  # fmt: skip
FACTS = ".hub.json"
SHOWN = 12
PAGE = 100

OnBytes = Callable[[int, int | None], None]


class Facts(Record):
    """What the hub said of the set whose files lie in a folder; `licence` is "" where its card names none."""

    repo: str
    hub: str
    commit: str
    licence: str = ""


def fetch(
    repo: str,
    *,
    hub: str = "huggingface",
    revision: str = "main",
    files: Sequence[str] = (),
    folder: Path,
    on_bytes: OnBytes,
    check_stop: Callable[[], None],
) -> list[Path]:
    """Download the files of `repo` that match the patterns `files` (empty: all data files) into `folder`.

    `on_bytes(done, total)` follows it; total is None until the hub has answered. A second call goes on where the first
    one ended. Raises DataError `hub.…` (missing, gated, revision, no_network, failed, no_modelscope),
    `data.hub_script`, `data.hub_no_files`, `file.bad_checksum`, `disk.no_space`; RunError when the child dies; and
    what `check_stop` raises.
    """
    plan: dict[str, Any] = {}
    spec = {"hub": hub, "repo": repo, "revision": revision, "files": list(files), "folder": str(folder)}
    before = folder_size(folder)

    def tick() -> None:
        total = plan.get("total")
        on_bytes(folder_size(folder) if total is None else min(folder_size(folder), total), total)

    on_bytes(before, None)
    ended = run_child(
        python_command("core.data.bring.hub", json.dumps(spec)),
        check_stop=check_stop,
        on_line=lambda line: plan.update(line.get("plan", {})),
        on_tick=tick,
    )
    ended.raise_error(DataError)
    on_bytes(plan["total"], plan["total"])
    facts = Facts(repo=repo, hub=hub, commit=plan["commit"], licence=plan["licence"] or "")
    write_record(folder / FACTS, facts)
    return [folder / name for name in plan["files"]]


def facts(folder: Path) -> Facts | None:
    """What `fetch` learnt of the set in `folder`; None before it has ended well."""
    return read_record(folder / FACTS, Facts)


def choose_files(repo: str, files: Sequence[HubFile], patterns: Sequence[str]) -> list[HubFile]:
    """The data files that match one of `patterns` (`finetune/*.json`; `*` crosses folders), or all of them.

    Raises DataError `data.hub_script` for a set that only a script can load, `data.hub_no_files` with what there is.
    """
    data = [file for file in files if is_data(file.name)]
    if patterns:
        chosen = [file for file in data if any(fnmatchcase(file.name, pattern) for pattern in patterns)]
    else:
        chosen = data
    if chosen:
        return chosen
    script = f"{repo.rpartition('/')[2]}.py"
    if not data and any(file.name == script for file in files):
        raise DataError("data.hub_script", repo=repo, script=script)
    listed = ", ".join(file.name for file in (data or files)[:SHOWN]) or "–"
    raise DataError("data.hub_no_files", repo=repo, patterns=", ".join(patterns) or "*", files=listed)


def is_data(name: str) -> bool:
    """Whether a repository's file holds rows, as far as its name tells."""
    short = name.rpartition("/")[2].lower()
    return short not in NO_DATA and not short.startswith(".") and short.removesuffix(".gz").endswith(DATA)


# -- the child --------------------------------------------------------------------------------------------------------
def _huggingface(spec: dict[str, Any]) -> None:
    repo = spec["repo"]
    found = hugging_face_files("dataset", repo, spec["revision"])
    plan = Plan(choose_files(repo, found.files, spec["files"]), found.commit, found.licence)
    download_all("dataset", repo, plan, Path(spec["folder"]))


def _modelscope(spec: dict[str, Any]) -> None:
    try:
        from modelscope.hub.api import HubApi
        from modelscope.hub.snapshot_download import dataset_snapshot_download
    except ImportError as error:
        raise InputError("hub.no_modelscope") from error
    token = os.environ.get(TOKENS["modelscope"]) or None
    api, repo, folder = HubApi(token=token), spec["repo"], Path(spec["folder"])
    revision = "master" if spec["revision"] == "main" else spec["revision"]
    listed: list[dict[str, Any]] = []
    while len(listed) % PAGE == 0:
        page = api.get_dataset_files(repo, revision=revision, page_number=len(listed) // PAGE + 1, page_size=PAGE)
        listed.extend(page)
        if not page:
            break
    files = [HubFile(str(one["Path"]), int(one.get("Size") or 0)) for one in listed if one.get("Type") != "tree"]
    plan = Plan(choose_files(repo, files, spec["files"]), revision)
    folder.mkdir(parents=True, exist_ok=True)
    plan.announce(folder)
    names = [file.name for file in plan.files if inside(folder, file.name)]
    dataset_snapshot_download(repo, revision=revision, local_dir=str(folder), allow_patterns=names, token=token)


if __name__ == "__main__":
    sys.exit(answer(sys.argv[1:], {"huggingface": _huggingface, "modelscope": _modelscope}))
