"""What a file is good for, stage by stage, and the evidence for what it was taken to be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from core.data.kinds import STAGES_OF, Kind
from core.errors import Problem

STAGES = ("pretrain", "sft", "reward", "ppo", "dpo", "evaluate")
FITS = {
    ("text", "pretrain"): "data.fits_text",
    ("messages", "pretrain"): "data.fits_as_text",
    ("messages", "sft"): "data.fits_answers",
    ("messages", "ppo"): "data.fits_prompts",
    ("prompt", "ppo"): "data.fits_prompts",
    ("preference", "reward"): "data.fits_pairs",
    ("preference", "ppo"): "data.fits_prompts",
    ("preference", "dpo"): "data.fits_pairs",
    ("choice", "evaluate"): "data.fits_choice",
}
TITLES = {"sharegpt": "ShareGPT", "alpaca": "Alpaca", "messages": "OpenAI messages", "text": "plain text"}
USES: dict[Kind, str] = {
    "text": "pretraining",
    "messages": "SFT, text for pretraining, prompts for PPO",
    "prompt": "prompts for PPO",
    "preference": "reward model, DPO, prompts for PPO",
    "ranked": "preference pairs (by a step of a recipe)",
    "choice": "evaluation",
}


@dataclass(frozen=True)
class Verdict:
    """Whether a stage can use the rows, how many, and why or why not as a sentence that a page can translate."""

    stage: str
    fits: bool
    usable: int
    why: Problem

    def as_dict(self) -> dict[str, Any]:
        return {"fits": self.fits, "usable": self.usable, "why": self.why.message, "code": self.why.code}


def verdict(stage: str, kind: Kind | None, usable: int) -> Verdict:
    """What `stage` can do with `usable` rows of this kind."""
    if kind is not None and stage in STAGES_OF[kind]:
        if usable:
            return Verdict(stage, True, usable, Problem(FITS[kind, stage], {"count": usable}))
        return Verdict(stage, False, 0, Problem("data.none_left"))
    return Verdict(stage, False, 0, Problem(f"data.needs_{stage}", {"kind": kind or "–"}))


def evidence_text(evidence: Problem, kind: Kind | None) -> str:
    """`conversations` with `from`/`value`: ShareGPT → SFT, …, in English; a page makes its own from the parameters."""
    if kind is None:
        return evidence.message
    params = evidence.params
    nested = re.fullmatch(r"(\w+)\[([\w, ]+)\]", str(params["keys"]))
    keys = f"`{params['keys']}`"
    if nested is not None:
        inner = "/".join(f"`{key.strip()}`" for key in nested[2].split(","))
        keys = f"`{nested[1]}` with {inner}"
    title = TITLES.get(str(params["shape"]), str(params["shape"]))
    return f"{keys}: {title} → {USES[kind]} ({params['matched']} of the first {params['looked_at']} rows)"
