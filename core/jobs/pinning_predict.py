"""What a user wrote of a prediction becomes what its run keeps: who answers, what is asked, where the answers go.

Only heads of files are read, so that a file of millions of lines is submitted at once. Nothing is written.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from core.configs.stages import PredictConfig
from core.data.files.reader import open_source
from core.data.store.library import open_dataset
from core.errors import DataError, InputError
from core.models.answering import Answerer, check_template, check_tokenizer, find_answerer
from core.models.awaited import Awaiting, check_start, find_awaited
from core.models.families import check_type
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.jobs.pinning import Pins

STAGE = "predict"
HEAD_BYTES = 1 << 16


def pin_predict(workspace: Workspace, config: PredictConfig, pins: Pins, awaiting: Awaiting) -> None:
    """Note the pinned values of `config`, or what is wrong with them. Who is awaited is looked at when it is there."""
    model, data = config.model, config.data
    if model.base:
        pins.pin("model.base", partial(check_start, workspace, awaiting, STAGE, model.base))
    if model.tokenizer:
        pins.pin("model.tokenizer", lambda: str(check_tokenizer(model.tokenizer)))
    waits = any(find_awaited(workspace, text or "", awaiting) for text in (model.base, model.lora))
    if not pins.problems and not waits:
        _pin_answerer(workspace, config, pins)
    pins.pin("data.file", partial(pinned_file, workspace, data.file))
    if data.predictions:
        pins.pin("data.predictions", partial(_target, data.predictions, data.file))
    if not config.run.name and "data.file" in pins.values:
        asked = Path(str(pins.values["data.file"]).partition("@")[0]).stem
        pins.values["run.name"] = f"{Path(model.lora or model.base).name} {STAGE} {asked}"[:80].strip()


def _pin_answerer(workspace: Workspace, config: PredictConfig, pins: Pins) -> None:
    """Whether base, adapter, type and template go together."""
    model = config.model
    found: list[Answerer] = []

    def look() -> str:
        found.append(find_answerer(workspace, model.base, model.lora, hashed=False))
        return found[0].lora or str(pins.values["model.base"])

    def check() -> str | None:
        tokenizer = check_tokenizer(model.tokenizer) if model.tokenizer else None
        check_template(found[0], model.template, tokenizer)
        return model.template

    pins.pin("model.lora" if model.lora else "model.base", look)
    if found and model.model_type:
        pins.pin("model.model_type", partial(_checked_type, found[0].parent.folder, model.model_type))
    if found and config.data.with_prompt:
        pins.pin("model.template", check)


def _checked_type(folder: Path, asked: str) -> str:
    check_type(folder, asked)
    return asked


def pinned_file(workspace: Workspace, text: str) -> str:
    """A dataset as `name@version`, or the path of a file that has something in it. Raises DataError."""
    path = Path(text).expanduser()
    try:
        return open_dataset(workspace, text).ref
    except DataError:
        if not path.is_file():
            if os.sep in text or path.suffix:
                raise DataError("data.no_file", file=text) from None
            raise
    source = open_source(path.resolve(), otherwise="txt")
    if next(source.raws(), None) is None:
        raise DataError("data.empty_file", file=path.name)
    return str(path.resolve())


def _target(text: str, asked: str) -> str:
    """Where a copy of the answers may be put. Raises InputError `predict.…`."""
    path = Path(text).expanduser().resolve()
    if path.is_dir():
        raise InputError("predict.is_folder", path=text.rstrip("/"))
    if path == Path(asked).expanduser().resolve():
        raise InputError("predict.same_file", path=text)
    if not path.parent.is_dir():
        raise InputError("predict.no_folder", path=str(path.parent))
    if path.exists() and not _holds_predictions(path):
        raise InputError("predict.would_overwrite", path=text)
    return str(path)


def _holds_predictions(path: Path) -> bool:
    """Whether a file is empty, or begins as one that an earlier run has written."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        head = file.readline(HEAD_BYTES)
    if not head:
        return True
    if len(head) == HEAD_BYTES:
        return head.startswith(b'{"line":')
    try:
        return {"line", "input", "output"} <= set(orjson.loads(head))
    except (orjson.JSONDecodeError, TypeError):
        return False
