"""What a model card is about: a finished run, everything beneath it, and what its weights have learnt from. Torch-free.

    subject = subject_of(workspace, workspace.run("sft-2026…-ab12"))
    subject.trained, subject.used, subject.base        runs, datasets, base: read from manifests and cards alone

A run's chain names the adapters that were merged beneath its own. Two things more have gone into the weights: runs
whose adapter a later one went on training, and whatever lies beneath a base that is itself a run's whole model.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from core.data.store.library import DatasetCard, open_dataset
from core.errors import GalenError
from core.models import families
from core.models.origin import Origin, maker_of, origin_of
from core.models.runs import BRINGS_IN, brought_in, weights_folder
from core.models.usage import Shape
from core.models.weights import has_template, has_tokenizer
from core.records import DataUsed, Manifest
from core.rundir import RunDir, read_json
from core.workspace import Workspace


@dataclass(frozen=True)
class Used:
    """A dataset that `stage` has learnt from; `card` is None where it is no longer in the workspace."""

    stage: str
    data: DataUsed
    card: DatasetCard | None


@dataclass(frozen=True)
class Subject:
    """What a card is about: a run with its manifest, the folder of its weights, and all that lies beneath it."""

    workspace: Workspace
    run: RunDir
    manifest: Manifest
    folder: Path

    @property
    def is_adapter(self) -> bool:
        return self.manifest.adapter_root is not None

    @property
    def scores(self) -> bool:
        return self.manifest.kind == "reward"

    @cached_property
    def base(self) -> Origin:
        """What an adapter is laid on; of a whole model, what it was made from."""
        return origin_of(self.workspace, self.manifest.root_base)

    @cached_property
    def bottom(self) -> Origin:
        """The untouched base at the very bottom."""
        return origin_of(self.workspace, _bottom(self.workspace, self.manifest).root_base)

    @cached_property
    def trained(self) -> list[str]:
        """The runs whose training is in the weights, the oldest first."""
        return list(dict.fromkeys(_trained(self.workspace, self.manifest)))

    @cached_property
    def used(self) -> list[Used]:
        manifests = [manifest for run in self.trained if (manifest := manifest_of(self.workspace, run)) is not None]
        return [
            Used(each.stage, data, _dataset(self.workspace, data.dataset)) for each in manifests for data in each.data
        ]

    @cached_property
    def stages(self) -> list[str]:
        """The stages of these runs, each once; what was brought in was trained elsewhere."""
        named = [RunDir(Path(run)).stage for run in self.trained]
        return [stage for stage in dict.fromkeys(named) if stage and stage != BRINGS_IN]

    @cached_property
    def brought(self) -> list[Manifest]:
        """The adapters among them that some other program has trained."""
        found = [brought_in(RunDir(self.workspace.runs_dir / run)) for run in self.trained]
        return [manifest for manifest in found if manifest is not None]

    @property
    def own_class(self) -> bool:
        """Whether no Transformers loads it by itself: its class is this project's (`core.models.architectures`)."""
        folder = self.folder if not self.is_adapter else Path(self.manifest.root_base.path)
        return (read_json(folder / "config.json") or {}).get("model_type") in families.OWN_CLASSES

    @property
    def shape(self) -> Shape:
        """What somebody else has to know to load it."""
        own = has_tokenizer(self.folder)
        tokenizer = self.folder if own else Path(self.manifest.root_base.path)
        return Shape(
            origin=self.base if self.is_adapter else None,
            scores=self.scores,
            chat=has_template(tokenizer),
            tokenizer=own,
            stops=self.manifest.tokenizer.get("stop_ids") or (),
        )


def subject_of(workspace: Workspace, run: RunDir) -> Subject:
    """Raises ModelError `model.run_no_weights` where the run has delivered none."""
    folder = weights_folder(run, "output")
    manifest = run.manifest()
    assert manifest is not None  # or there had been no folder
    return Subject(workspace, run, manifest, folder)


# -- what lies beneath ------------------------------------------------------------------------------------------------
def _trained(workspace: Workspace, manifest: Manifest) -> list[str]:
    below = maker_of(workspace, manifest.root_base)
    runs = _trained(workspace, below) if below is not None else []
    for link in manifest.chain:
        runs += [*_continued(workspace, manifest_of(workspace, link.run)), link.run]
    runs += _continued(workspace, manifest)
    return runs if manifest.method == "merge" else [*runs, manifest.run]


def _continued(workspace: Workspace, manifest: Manifest | None) -> list[str]:
    """The runs whose own adapter a run went on training: they are no links of its chain. The oldest first."""
    if manifest is None or manifest.parent is None or manifest.parent_adapter != "continued":
        return []
    return [*_continued(workspace, manifest_of(workspace, manifest.parent)), manifest.parent]


def _bottom(workspace: Workspace, manifest: Manifest) -> Manifest:
    below = maker_of(workspace, manifest.root_base)
    return manifest if below is None else _bottom(workspace, below)


def manifest_of(workspace: Workspace, run: str) -> Manifest | None:
    """None where the run has been deleted since."""
    return RunDir(workspace.runs_dir / run).manifest()


def _dataset(workspace: Workspace, ref: str) -> DatasetCard | None:
    try:
        return open_dataset(workspace, ref).card
    except GalenError:
        return None
