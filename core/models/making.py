"""What a conversion needs round it: `core.models.convert` as a child, and the files that are taken as they are.

Torch-free; the child is followed by its progress, and killed when the run is asked to stop.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.children import run_child
from core.errors import ModelError
from core.models.library import CARD
from core.models.weights import BIN_INDEX, INDEX, bin_files, weight_files
from core.report import Report
from core.system import python_command

PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".h5", ".msgpack", ".onnx")  # of other programs, or of no use here


def convert(kind: str, *paths: Path, report: Report) -> dict[str, Any]:
    """Run one of the works of `core.models.convert`; returns its facts. Raises ModelError with what it reported."""
    report.phase("checking" if kind == "check" else "converting")
    facts: dict[str, Any] = {}

    def on_line(line: dict[str, Any]) -> None:
        facts.update(line.get("facts", {}))
        if "progress" in line:
            done, total = line["progress"]
            report.progress(done, total=total)

    command = python_command("core.models.convert", kind, *map(str, paths))
    run_child(command, check_stop=report.check_stop, on_line=on_line).raise_error(ModelError)
    return facts


def gather(folder: Path, target: Path, link: Callable[[Path, Path], Any] | None = None) -> None:
    """Copy a model's small files: no code, nothing that downloads keep for themselves, and no weights, which a
    conversion writes anew; with `link`, its safetensors, too.
    """
    left_out = {path.name for path in bin_files(folder)} | {BIN_INDEX, CARD}
    if link is None:
        left_out |= {path.name for path in weight_files(folder)} | {INDEX}
    for path in sorted(folder.iterdir()):
        if path.suffix in PICKLED or path.suffix == ".py" or path.name.startswith("."):
            continue
        if path.is_symlink() and not path.resolve().is_relative_to(_home_of(folder)):
            raise ModelError("model.link_out", path=str(folder), file=path.name)
        if path.is_file() and path.name not in left_out:
            (link or shutil.copy2)(path, target / path.name)


def _home_of(folder: Path) -> Path:
    """Within which links may lead: the folder, or in the hub's own cache the model's, where snapshots link to blobs."""
    folder = folder.resolve()
    return folder.parent.parent if folder.parent.name == "snapshots" else folder
