"""A chain merged into its root, written as a model folder, and proved: what the stage `merge` does, step by step.

    merge = Merge.of(context, settings, parent)
    plan = merge.plan()                                     None: it has to be done on the whole model in memory
    merge.stream(plan, folder)      or      answers = merge.in_memory(folder)
    found = merge.verify(folder, plan, answers)

A reward model is written as a sequence-classification model with its head.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from core.configs.models import Merged
from core.data.encode.encoding import Encoder
from core.data.encode.tokenizer import load_tokenizer
from core.errors import ModelError
from core.models.backbone import copy_beside, file_dtype, save_settings
from core.models.chain import concatenate
from core.models.changes import merge_into
from core.models.checking import whole_skeleton
from core.models.loading import TORCH_DTYPES, load_model
from core.models.parents import Parent
from core.models.streaming import NotStreamableError, Plan, compare, plan_merge, write
from core.models.weights import SCORE, inspect
from core.records_merge import Verification
from core.report import RunContext
from core.training.heads import classifier_of, lay_adapter, read_head, save_classifier
from core.training.judges import load_classifier
from core.training.verifying import Probes, computing_dtype, name_of, verify


@dataclass(frozen=True)
class Merge:
    """What the steps share. encoder: None where the tokenizer has no chat template. head: [1, h] of a reward model.

    skeleton: the root without weights; result: the same of what is written. dtype None: every tensor in its own.
    """

    context: RunContext
    settings: Merged
    parent: Parent
    tokenizer: Any
    encoder: Encoder | None
    head: Tensor | None
    skeleton: PreTrainedModel
    result: PreTrainedModel
    dtype: torch.dtype | None

    @classmethod
    def of(cls, context: RunContext, settings: Merged, parent: Parent) -> Merge:
        """Raises ModelError as `load_tokenizer`, `Encoder`, `read_head`, `whole_skeleton` and `classifier_of`."""
        tokenizer = load_tokenizer(parent.tokenizer, trust_remote_code=settings.trust_remote_code)
        encoder = _encoder(tokenizer, parent.template)
        if encoder is not None and parent.template is not None:
            tokenizer.chat_template = encoder.template_text  # the model was taught this one, whatever its base has
        head = None if parent.head is None else read_head(parent.head)
        skeleton, _ = whole_skeleton(parent.folder, trust_remote_code=settings.trust_remote_code)
        result = skeleton if head is None else classifier_of(skeleton, tokenizer)
        dtype = TORCH_DTYPES.get(settings.dtype)
        return cls(context, settings, parent, tokenizer, encoder, head, skeleton, result, dtype)

    @property
    def written_in(self) -> torch.dtype:
        """The number format of the result, or of most of it."""
        return self.dtype or TORCH_DTYPES.get(inspect(self.parent.folder).dtype, torch.float32)

    # -- merging ------------------------------------------------------------------------------------------------------
    def plan(self) -> Plan | None:
        """None where the merge has to be made in memory; the log says why. Raises ModelError as `changes_of`."""
        extra = {} if self.head is None else {SCORE: self.head}
        try:
            plan = plan_merge(
                self.parent.folder, self.skeleton, self.parent.adapters, self.dtype, result=self.result, extra=extra
            )
        except NotStreamableError as why:
            print(why)
            return None
        if plan.left:
            print(f"left out, as the base's class does not use them: {len(plan.left)} tensors, such as {plan.left[0]}")
        return plan

    def size(self, plan: Plan | None) -> int:
        """Bytes that the result will take."""
        return inspect(self.parent.folder).parameters * self.written_in.itemsize if plan is None else plan.size

    def stream(self, plan: Plan, folder: Path) -> None:
        """Write the result of `plan` into `folder`, and all that belongs beside it."""
        report = self.context.report
        report.phase("merging", total=plan.size, unit="byte")
        size = self.settings.shard_bytes
        write(plan, folder, shard_size=size, on_bytes=report.progress, check_stop=report.check_stop)
        self._write_beside(self.result, folder)

    def in_memory(self, folder: Path) -> list[Tensor]:
        """The same on the whole model. Returns what it answers to the probes before it is cast."""
        report, kept = self.context.report, file_dtype(self.parent.folder, self.written_in)
        report.phase("merging")
        model = self._load(self.parent.folder, computing_dtype(self.parent.folder, self.context.device, kept) or kept)
        report.check_stop()
        merge_into(model, self.parent.adapters, whole=True)
        answers = self._probes().outputs(model)
        report.check_stop()
        report.phase("saving")
        model = model.to(device="cpu", dtype=self.written_in)
        if self.head is None:
            model.save_pretrained(str(folder), max_shard_size=self.settings.shard_bytes)
        else:
            layer = nn.Linear(self.head.shape[1], 1, bias=False)
            layer.weight = nn.Parameter(self.head)
            save_classifier(model, layer, self.tokenizer, folder, self.written_in, shard_size=self.settings.shard_bytes)
        self._write_beside(model if self.head is None else self.result, folder)
        return answers

    def _write_beside(self, model: PreTrainedModel, folder: Path) -> None:
        save_settings(model, folder, self.written_in, () if self.encoder is None else self.encoder.stop_ids)
        self.tokenizer.save_pretrained(str(folder))
        copy_beside(self.parent.folder, folder)

    # -- proving ------------------------------------------------------------------------------------------------------
    def verify(self, folder: Path, plan: Plan | None, merged: Sequence[Tensor] | None) -> Verification:
        """The numbers in `folder` against `plan`, where there is one; and what the model answers, where there is room.

        merged: what a merge in memory answered. Such a one is always asked.
        """
        report = self.context.report
        weights = None
        if plan is not None:
            report.phase("verifying", total=plan.size, unit="byte")
            weights = compare(plan, folder, on_bytes=report.progress, check_stop=report.check_stop)
        kept = file_dtype(self.parent.folder, self.written_in)
        computed_in = computing_dtype(self.parent.folder, self.context.device, kept)
        if plan is not None and (self.settings.verify == "weights" or computed_in is None):
            assert weights is not None
            unasked = "config" if self.settings.verify == "weights" else "memory"
            return Verification(dtype=name_of(self.written_in), passed=weights.passed, weights=weights, unasked=unasked)
        report.phase("verifying")
        found = self._answers(folder, computed_in or kept, merged)
        return found.model_copy(
            update={"weights": weights, "passed": found.passed and (weights is None or weights.passed)}
        )

    def _answers(self, folder: Path, computed_in: torch.dtype, merged: Sequence[Tensor] | None) -> Verification:
        probes, check_stop = self._probes(), self.context.report.check_stop
        before = probes.outputs(self._with_adapters(computed_in))
        check_stop()
        if self.head is None:
            model = self._load(folder, computed_in)
        else:
            model = load_classifier(folder, dtype=computed_in, device=self.context.device)
        written = probes.outputs(model)
        check_stop()
        return verify(
            probes, before, written, self.tokenizer, computed_in=computed_in, dtype=self.written_in, merged=merged
        )

    def _with_adapters(self, dtype: torch.dtype) -> PreTrainedModel | PeftModel:
        """The root with the chain laid on it by PEFT: as one adapter, where it is one, else the last link of it."""
        model = self._load(self.parent.folder, dtype)
        with tempfile.TemporaryDirectory() as place:
            try:
                concatenate(self.parent.adapters, Path(place), base=self.parent.root.path)
                return PeftModel.from_pretrained(model, place, torch_device=str(model.device))
            except ModelError as error:
                if error.code != "chain.not_plain":
                    raise
        *below, last = self.parent.adapters
        merge_into(model, below, whole=True)
        return lay_adapter(model, last)

    def _load(self, folder: Path, dtype: torch.dtype) -> PreTrainedModel:
        trusted = self.settings.trust_remote_code
        return load_model(folder, dtype=dtype, device=self.context.device, trust_remote_code=trusted)

    def _probes(self) -> Probes:
        return Probes.of(self.tokenizer, self.head, self.context.device)


def _encoder(tokenizer: Any, template: str | None) -> Encoder | None:
    """For the named `template`, else for the tokenizer's own; None where that is missing, or answers cannot be found
    in it."""
    try:
        return Encoder(tokenizer, template=template)
    except ModelError:
        if template is not None:
            raise
        return None
