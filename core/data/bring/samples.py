"""The samples that ship with the project (`data/`), as datasets of a workspace. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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


def sample_name(path: Path) -> str:
    """The name of the dataset that a sample becomes."""
    return f"sample-{path.parent.name}-{path.stem}"


def sample_uses() -> dict[str, str]:
    """What each sample is for, a stage or an evaluation's part, by the name of its dataset."""
    return {sample_name(path): path.parent.name for path in SAMPLES.glob("*/*.jsonl")}


def all_there(names: Iterable[str]) -> bool:
    """Whether every sample of the stages is among the datasets `names`: somebody asked for them. A rehearsal brings
    some by itself."""
    return {sample_name(path) for path in sample_files()} <= set(names)


def bring_sample(workspace: Workspace, path: Path, check_stop: Callable[[], None] | None = None) -> Dataset:
    """Import one of them, or find the dataset that it already is. Raises what `check_stop` raises."""
    order = Order(sample_name(path), licence=LICENCE, origin=str(path.relative_to(SAMPLES.parent)))
    return import_files(workspace, [path], order, check_stop=check_stop)
