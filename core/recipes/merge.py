"""merge: a run's adapters become part of their base; the result is a model folder that needs nothing else.

    1  find the run's chain and its root base, and what the merged model will be called
    2  plan every tensor of the result without loading one, and see that the disk has room
    3  read the root's files, a few rows at a time, add the chain to what it changes, in fp32, cast once, and write
    4  read it back: every number beside the sum, computed once more; and where the model has room in memory, what it
       answers to a few probes beside what the adapters answer on their root
    5  give it its name; put it into the workspace's models, if it is to have one there; write the manifest

Run it with `python -m core merge model.base=RUN`. What differs by more than rounding is not delivered, and nothing
stands under the model's name before. A few architectures join tensors of their files when they are loaded; where
adapters change such a weight, step 3 is done on the whole model in memory. Left out: quantised results (weights are
merged from the root's own files, whatever they were quantised to in training), and adapters that add no sum, as DoRA's.
"""

from __future__ import annotations

import importlib.metadata
import math
import shutil

from core.configs.stages import MergeConfig
from core.disk import require_space
from core.errors import ModelError, RunError
from core.models.hashes import backbone_id, weight_hashes
from core.models.library import find_base, name_taken, register
from core.models.parents import resolve_parent
from core.models.weights import SCORE_HEAD
from core.records import Manifest, WeightFile
from core.records_merge import Verification, verification_file
from core.report import RunContext
from core.rundir import write_record
from core.training.delivery import PACKAGES, WHOLE, device_name
from core.training.merging import Merge
from core.training.verifying import name_of

BUILDING = ".building"  # where the model lies until it is proved
NOT_ASKED = {"config": "model.verify=weights", "memory": "there is no room for the whole model"}


def main(context: RunContext) -> None:
    """Merge `model.base`. Raises ModelError where there is nothing to merge, RunError `merge.disagrees`."""
    config = MergeConfig.model_validate(context.config.model_dump())
    report, output, workspace = context.report, context.run.output, context.workspace
    settings = config.model

    # 1
    parent = resolve_parent(workspace, settings.base)
    if not parent.adapters:
        raise ModelError("parent.nothing_to_merge", run=settings.base)
    source = f"merged by {context.run.id}"
    if settings.folder and name_taken(workspace, settings.folder, source=source):
        raise ModelError("model.name_taken", name=settings.folder, source="another model")

    # 2
    report.phase("loading")
    print(parent.sentence())
    merge = Merge.of(context, settings, parent)
    plan = merge.plan()
    require_space(output, merge.size(plan))
    report.check_stop()

    # 3
    shutil.rmtree(output, ignore_errors=True)
    building = output / BUILDING
    building.mkdir(parents=True)
    try:
        answers = None
        if plan is not None:
            merge.stream(plan, building)
        else:
            answers = merge.in_memory(building)
        # 4
        found = merge.verify(building, plan, answers)
        write_record(verification_file(output), found)
        if not found.passed:
            raise _refusal(found, settings.base)
        print(_said(found))
        # 5
        report.check_stop()
        report.phase("delivering")
        folder = building.rename(output / WHOLE)
        weights = weight_hashes(folder)
        if settings.folder:
            register(workspace, folder, settings.folder, source=source, weights=weights)
        write_record(context.run.manifest_file, _manifest(context, config, merge, weights, found))
    finally:
        if context.run.manifest() is None:
            shutil.rmtree(building, ignore_errors=True)
            shutil.rmtree(output / WHOLE, ignore_errors=True)


def _refusal(found: Verification, run: str) -> RunError:
    weights = found.weights
    if weights is None or weights.passed:
        apart = found.difference if found.kl is None else found.kl
        return RunError("merge.disagrees", run=run, difference=f"{apart:.3g}")
    if weights.places is None:
        return RunError("merge.torn_files", run=run)
    if math.isinf(weights.places):
        return RunError("merge.overflow", run=run, dtype=found.dtype)
    return RunError("merge.wrong_numbers", run=run, places=f"{weights.places:.3g}")


def _said(found: Verification) -> str:
    """For the log: what was proved."""
    lines = []
    if found.weights is not None:
        lines.append(
            f"all {found.weights.tensors} tensors read back: the {found.weights.changed} that adapters change are the "
            f"sums in fp32, correctly rounded to {found.dtype}; the other "
            f"{found.weights.tensors - found.weights.changed} are unchanged, but for their number format"
        )
    if found.computed_in is not None:
        off = f"outputs are off by {found.difference:.2g} at most"
        if found.kl is None or found.computed_in == found.dtype == "float32":
            off += f" ({found.allowed:.2g} allowed)"
        else:
            same = f"the likeliest token is the same at {found.same:.1%} of {found.positions} positions"
            off = f"{found.kl:.2g} nats a token ({found.allowed:g} allowed), {same}, {off}"
        lines.append(f"its answers beside those of the adapters, computed in {found.computed_in}: {off}")
    else:
        lines.append(f"its answers were not compared: {NOT_ASKED[found.unasked]}")
    return "\n".join(lines)


def _manifest(
    context: RunContext, config: MergeConfig, merge: Merge, weights: list[WeightFile], found: Verification
) -> Manifest:
    """The merged model is its own root; `chain` says what went into it."""
    parent = merge.parent
    ref = find_base(context.workspace, config.model.base)
    merged = context.workspace.run(ref.run).manifest() if ref is not None else None
    figures = found.model_dump(include={"merging", "difference", "kl", "same"}, exclude_none=True)
    return Manifest(
        run=context.run.id,
        name=config.run.name,
        stage=context.run.stage,
        kind="merged" if parent.head is None else "reward",
        root_base=parent.root,
        chain=list(parent.chain),
        parent=parent.run,
        parent_adapter="merged",
        backbone_id=backbone_id(weights),
        model_folder=WHOLE,
        method="merge",
        dtype=name_of(merge.written_in),
        head=None if parent.head is None else dict(SCORE_HEAD),
        tokenizer={} if merged is None else merged.tokenizer,
        template={} if merged is None else merged.template,
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
        device=device_name(context),
        trust_remote_code=config.model.trust_remote_code,
        final_metrics=figures,
    )
