"""The samples that ship with the project (`data/`), as datasets of a workspace. Torch-free."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from core.configs.files import SHIPPED
from core.data.bring.importing import Order, import_files
from core.data.check.verdicts import STAGES
from core.data.store.dataset import Dataset
from core.workspace import Workspace

SAMPLES = SHIPPED.parent / "data"
LICENCE = "cc0-1.0"  # data/README.md


def sample_files() -> list[Path]:
    """The samples for the stages, by stage."""
    return [path for stage in STAGES for path in sorted((SAMPLES / stage).glob("*.jsonl"))]


def bring_sample(workspace: Workspace, path: Path, check_stop: Callable[[], None] | None = None) -> Dataset:
    """Import one of them, or find the dataset that it already is. Raises what `check_stop` raises."""
    name = f"sample-{path.parent.name}-{path.stem}"
    order = Order(name, licence=LICENCE, origin=str(path.relative_to(SAMPLES.parent)))
    return import_files(workspace, [path], order, check_stop=check_stop)
