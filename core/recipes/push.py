"""push: send a finished run's adapter or model to Hugging Face. Run it with `python -m core model push RUN owner/name`.

    1. see that there is a token, before anything is done
    2. put links to the files, and the card, into cache/push/<run>, and look for paths of this machine in them
    3. send them as one commit (`core.models.upload`), in a child that is killed when a stop is asked for
    4. note what lies on the hub now

What is there already is not sent twice, so a push that was stopped or cut off may simply be resumed. Torch-free.
"""

from __future__ import annotations

import json
import shutil
from typing import Any

from core.children import run_child
from core.configs.stages import PushConfig
from core.errors import InputError
from core.models.parents import check_start
from core.models.publish import Parcel, pack, require_token
from core.records_push import Pushed, pushed_file
from core.report import Report, RunContext
from core.rundir import RunDir, write_record
from core.system import python_command


def main(context: RunContext) -> None:
    """Send `model.base`. Raises ModelError where it cannot be sent, InputError with what the hub said."""
    config = context.config
    assert isinstance(config, PushConfig)
    workspace, report = context.workspace, context.report
    require_token()  # 1
    run = workspace.run(check_start(workspace, context.run.stage, config.model.base))
    folder = workspace.cache_dir / "push" / context.run.id
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        parcel = pack(workspace, run, config.model.card, config.to.repo, folder)  # 2
        said = _send(parcel, config, _message(run, config), report)  # 3
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    context.run.output.mkdir(parents=True, exist_ok=True)
    pushed = Pushed(
        run=run.id, repo=config.to.repo, revision=config.to.revision, files=list(parcel.sizes), size=parcel.total,
        url=said["url"], commit=said["commit"], private=said["private"],
    )  # fmt: skip
    write_record(pushed_file(context.run.output), pushed)  # 4
    print(f"{run.id} is on the hub, {'private' if pushed.private else 'public'}: {pushed.url}")


def _send(parcel: Parcel, config: PushConfig, message: str, report: Report) -> dict[str, Any]:
    """What the child has said of the commit."""
    report.phase("uploading", total=parcel.total, unit="byte")
    to = config.to
    spec = {
        "hub": "huggingface", "repo": to.repo, "revision": to.revision, "private": to.private, "message": message,
        "folder": str(parcel.folder),
    }  # fmt: skip
    said: dict[str, Any] = {}

    def hear(line: dict[str, Any]) -> None:
        said.update(line)
        if "sent" in line:
            report.progress(line["sent"])

    ended = run_child(
        python_command("core.models.upload", json.dumps(spec)), check_stop=report.check_stop, on_line=hear
    )
    ended.raise_error(InputError)
    return said


def _message(run: RunDir, config: PushConfig) -> str:
    manifest = run.manifest()
    return config.to.message or (manifest.name if manifest is not None else "") or run.id
