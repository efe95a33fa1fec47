"""A finished reward model at work: from what a config names to scores of answers.

    judge = load_judge(workspace, "reward-2026…-ab12", device="cpu", dtype=torch.float32, max_length=1024)
    judge.score([tree, …], tokens=4096)             one list of scores a tree (`core.data.encode.pairs`)
    pair_scores(judge, encoded_pairs, tokens=4096)  [pairs, 2]

A run's adapters are merged into its backbone, in fp32 and then cast; a plain folder of a sequence-classification model
with one score is loaded as it is. Left out: classifiers with several labels, and such as read a text from both sides
with a head of their own kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers.utils import logging as transformers_logging

from core.data.encode.encoding import Encoder
from core.data.encode.pairs import EncodedPairs, Tree
from core.data.encode.tokenizer import load_tokenizer
from core.errors import ModelError
from core.models import families
from core.models.backbone import load_backbone
from core.models.parents import Parent, resolve_parent
from core.training.heads import new_head, read_head
from core.training.scoring import RewardModel
from core.training.trees import TreePack
from core.workspace import Workspace

STRETCH = 64  # trees between two looks at the stop request


@dataclass(frozen=True)
class Judge:
    """A reward model with the encoder that its answers go through."""

    reward: RewardModel
    encoder: Encoder

    def warm_up(self, trees: Sequence[Tree]) -> str | None:
        """Take the fast path, if it agrees with the model's own on two of these trees. Returns why not, or None."""
        short = sorted(trees, key=lambda tree: sum(map(len, tree)))[:2]
        return self.reward.speed_up(TreePack.of(short).to(self.reward.base.device))

    @torch.no_grad()
    def score(self, trees: Sequence[Tree], *, tokens: int) -> list[list[float]]:
        """The scores of every tree's answers, with at most `tokens` tokens (or one tree) computed at a time."""
        scores: list[list[float]] = [[] for _ in trees]
        for pack in self.reward.packing(tokens).packs(trees):
            found = iter(self.reward.scores(pack.to(self.reward.base.device)).tolist())
            for member, shape in zip(pack.members, pack.shapes, strict=True):
                scores[member] = [next(found) for _ in shape[1:]]
        return scores


def pair_scores(
    judge: Judge,
    pairs: EncodedPairs,
    *,
    tokens: int,
    check_stop: Callable[[], None] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> NDArray[np.float64]:
    """[pairs, 2]: the scores of chosen and rejected. `on_progress` gets the number of pairs done; `check_stop` is
    called every `STRETCH` pairs and may raise."""
    scores = np.zeros((len(pairs), 2))
    for start in range(0, len(pairs), STRETCH):
        if check_stop is not None:
            check_stop()
        stop = min(start + STRETCH, len(pairs))
        scores[start:stop] = judge.score([pairs[index] for index in range(start, stop)], tokens=tokens)
        if on_progress is not None:
            on_progress(stop)
    return scores


# -- loading ----------------------------------------------------------------------------------------------------------
def load_judge(
    workspace: Workspace,
    text: str,
    *,
    device: str,
    dtype: torch.dtype,
    max_length: int,
    template: str | None = None,
    trust_remote_code: bool = False,
) -> Judge:
    """The reward model that `text` names. `template` is for a model that has none of its own.

    Raises as `resolve_parent`; ModelError `parent.scores_nothing` for a model that writes text, `reward.no_head`,
    `reward.not_one_score`.
    """
    return judge_of(
        resolve_parent(workspace, text, scoring=True),
        text,
        device=device,
        dtype=dtype,
        max_length=max_length,
        template=template,
        trust_remote_code=trust_remote_code,
    )


def judge_of(
    parent: Parent,
    text: str,
    *,
    device: str,
    dtype: torch.dtype,
    max_length: int,
    template: str | None = None,
    trust_remote_code: bool = False,
) -> Judge:
    """`load_judge` for a parent that was resolved already; `text` is what it was called."""
    if parent.head is None:
        raise ModelError("parent.scores_nothing", run=text)
    tokenizer = load_tokenizer(parent.tokenizer, trust_remote_code=trust_remote_code)
    own = parent.template or (None if tokenizer.chat_template else template)
    encoder = Encoder(tokenizer, max_length=max_length, template=own)
    if parent.adapters or families.writes_text(families.read_config(parent.folder)):
        model = load_backbone(parent, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
    else:
        model = load_classifier(parent.folder, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
    model.requires_grad_(False)
    return Judge(RewardModel(model, head_of(parent.head)).eval(), encoder)


def head_of(folder: Path) -> nn.Linear:
    """The head that lies in `folder`, in fp32."""
    weight = read_head(folder)
    head = new_head(weight.shape[1])
    head.weight.data.copy_(weight)
    return head.requires_grad_(False)


def load_classifier(
    folder: Path, *, dtype: torch.dtype, device: str, trust_remote_code: bool = False
) -> PreTrainedModel:
    """The sequence-classification model in `folder`. Raises ModelError `model.load_failed`, `model.missing_weights`."""
    transformers_logging.disable_progress_bar()
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        detail = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError("model.load_failed", path=str(folder), detail=detail) from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError("model.missing_weights", path=str(folder), count=len(missing), example=missing[0])
    return model.to("cpu" if device.startswith("cpu") else device).eval()
