"""The models of a comparison: what a name of the config stands for, and how it is loaded.

    contender = find(workspace, "sft-2026…-ab12")     who it is; nothing is loaded
    language = load_language(contender, …)            its backbone with the chain merged, tokenizer, template

One model is in memory at a time. A reward model is loaded by `core.training.judges`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.configs.models import Compared
from core.data.encode.documents import DocumentEncoder
from core.data.encode.encoding import Encoder
from core.data.encode.tokenizer import load_tokenizer, stop_ids_of
from core.errors import ModelError
from core.evaluation.answers import Respondent
from core.models.backbone import load_backbone
from core.models.families import context_length, read_config
from core.models.library import list_models
from core.models.parents import Parent, resolve_parent
from core.models.runs import find_run
from core.records_evaluation import Judged
from core.rundir import RunDir
from core.training.batching import Pack, Rows
from core.training.fastpath import FusedCausalLM
from core.workspace import Workspace

SAMPLE = (96, 64)  # tokens of the rows that the fast path is tried on


@dataclass(frozen=True)
class Contender:
    """`judged` is what the result says of it, `parent` what it is made of."""

    judged: Judged
    parent: Parent


def find(workspace: Workspace, text: str) -> Contender:
    """Who `text` names. Raises as `core.models.parents.resolve_parent`."""
    parent = resolve_parent(workspace, text, scoring=True)
    judged = Judged(
        text=text,
        name=shown_name(workspace, text),
        kind="reward" if parent.head is not None else "language",
        run=parent.run,
        stage=workspace.run(parent.run).stage if parent.run else None,
        root=shown_name(workspace, parent.root.source),
        identity=parent.backbone_id,
        adapters=len(parent.chain),
        learnt=learnt(workspace, parent.run),
    )
    return Contender(judged, parent)


def learnt(workspace: Workspace, run_id: str | None) -> list[str]:
    """The SHA-256 of the datasets that a run and those beneath it were trained on, as far as they are still here."""
    found: dict[str, None] = {}
    seen: set[str] = set()
    while run_id and run_id not in seen:
        seen.add(run_id)
        manifest = RunDir(workspace.runs_dir / run_id).manifest()
        if manifest is None:
            break
        found |= dict.fromkeys(used.sha256 for used in manifest.data)
        run_id = (manifest.parent or "").partition(":")[0]
    return list(found)


def shown_name(workspace: Workspace, text: str) -> str:
    """A run's own name, with what follows the colon of a reference; a model's name here, else its folder's."""
    ref = find_run(workspace, text)
    if ref is None:
        path = Path(text)
        cards = [card.name for card in list_models(workspace) if card.points_to == text or card.name == text]
        return cards[0] if cards else path.name if path.is_absolute() else text
    named = (workspace.run(ref.run).config().get("run") or {}).get("name") or ref.run
    return str(named) if ref.which == "output" else f"{named}:{ref.which}"


@dataclass
class Language:
    """A language model at work. `encoder` is None where there is no chat template; `no_template` says so then."""

    fused: FusedCausalLM
    tokenizer: Any
    encoder: Encoder | None
    no_template: ModelError | None
    context: int | None
    stop_ids: tuple[int, ...]
    tried: bool = False  # whether the fast path was

    @property
    def chat(self) -> Encoder:
        """The encoder of conversations. Raises ModelError `model.no_template`."""
        if self.encoder is None:
            assert self.no_template is not None
            raise self.no_template
        return self.encoder

    @cached_property
    def documents(self) -> DocumentEncoder:
        """The encoder of plain text; with end marks, where the tokenizer has one."""
        try:
            return DocumentEncoder(self.tokenizer)
        except ModelError as error:
            if error.code != "model.no_end_mark":
                raise
            return DocumentEncoder(self.tokenizer, end_mark=False)

    @property
    def token_bytes(self) -> NDArray[np.int64]:
        """[v]: how many bytes of text each token stands for."""
        return self.documents.token_bytes

    @property
    def respondent(self) -> Respondent:
        """The same, for answering. Raises as `chat`."""
        return Respondent(self.fused.base, self.chat, self.tokenizer, self.stop_ids, self.context)

    def warm_up(self, rows: Rows) -> None:
        """Take the fast path, if it agrees with the model's own on the beginnings of two long rows; once is enough."""
        if self.tried:
            return
        self.tried = True
        longest = rows.lengths.argsort()[::-1][: len(SAMPLE)].tolist()
        picked = [rows[index][0][:length] for index, length in zip(longest, SAMPLE, strict=False)]
        sample = Pack.of([(ids, ids) for ids in picked])  # every token a label: the fewer, the noisier the comparison
        reason = self.fused.speed_up(sample.to(self.fused.base.device))
        print("fast path: on" if reason is None else f"fast path: off, because {reason}")
        self.fused.eval()


def load_language(
    contender: Contender, settings: Compared, *, device: str, dtype: torch.dtype, max_length: int
) -> Language:
    """The model, its chain merged. `max_length`: tokens of a conversation. Raises ModelError."""
    parent = contender.parent
    trusted = settings.trust_remote_code
    tokenizer = load_tokenizer(parent.tokenizer, trust_remote_code=trusted)
    encoder, missing = None, None
    try:
        encoder = _encoder(tokenizer, parent.template, settings.template, max_length)
        contender.judged.template = encoder.template_name
    except ModelError as error:
        missing = error
    model = load_backbone(parent, dtype=dtype, device=device, trust_remote_code=trusted)
    model.requires_grad_(False)
    stops = {*(encoder.stop_ids if encoder is not None else ()), *stop_ids_of(parent.folder)}
    if tokenizer.eos_token_id is not None:
        stops.add(int(tokenizer.eos_token_id))
    fused = FusedCausalLM(model)
    fused.eval()
    context = context_length(read_config(parent.folder))
    language = Language(fused, tokenizer, encoder, missing, context, tuple(sorted(stops)))
    contender.judged.tokenizer = language.documents.tokenizer_sha256[:12]
    return language


def _encoder(tokenizer: Any, own: str | None, fallback: str | None, max_length: int) -> Encoder:
    """With the template that the run was trained with, else the tokenizer's own, else `fallback`."""
    try:
        return Encoder(tokenizer, max_length=max_length, template=own)
    except ModelError as error:
        if error.code != "model.no_template" or fallback is None:
            raise
        return Encoder(tokenizer, max_length=max_length, template=fallback)
