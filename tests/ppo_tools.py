"""What the tests of PPO share: prompts, roles on the tiny model, and runs of the recipe in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import set_seed

from core.configs.files import resolve
from core.configs.ppo import PolicyLora, Rollout
from core.data.encode.encoding import Encoder
from core.data.encode.tokenizer import load_tokenizer
from core.data.store.library import resolve as resolve_data
from core.models.loading import load_model
from core.ppo.casting import cast
from core.ppo.roles import Roles
from core.ppo.rollout import Prompt, Sample, sample
from core.recipes import ppo
from core.report import Report, RunContext
from core.rules import RULES, Answer, rule
from core.rundir import RunDir, read_jsonl
from core.training.attention import plain_attention
from core.workspace import Workspace
from tests.conftest import SYLLABLES, write_jsonl

QUESTIONS = [" ".join(SYLLABLES[(7 * at + step) % len(SYLLABLES)] for step in range(2 + at % 5)) for at in range(24)]


def lettered(answer: Answer, letter: str = "a") -> float:
    """The share of the answer's characters that are this letter."""
    return answer.text.count(letter) / len(answer.text) if answer.text else 0.0


@pytest.fixture
def lettered_rule() -> Iterator[None]:
    """A rule of the tests' own, for as long as a test needs it."""
    rule(lettered)
    yield
    RULES.pop(lettered.__name__)


def prompt_file(folder: Path, count: int = 24, *, answers: bool = False) -> Path:
    if not answers:
        return write_jsonl(folder / "prompts.jsonl", [{"prompt": text} for text in QUESTIONS[:count]])
    rows = [
        {"conversations": [{"from": "human", "value": text}, {"from": "gpt", "value": f"ba {text} da"}]}
        for text in QUESTIONS[:count]
    ]
    return write_jsonl(folder / "answered.jsonl", rows)


def start(workspace: Workspace, base: str | Path, data: Path, *words: str, run: RunDir | None = None) -> RunDir:
    """A run of the recipe in this process, small in everything; `words` win over that."""
    dataset = resolve_data(workspace, str(data))
    small = [
        "rollout.prompts=8", "rollout.max_new_tokens=12", "ppo.episodes=16", "ppo.epochs=2", "evaluation.prompts=4",
        "optim.learning_rate=1e-2", "evaluation.steps=1", "data.max_length=64", "model.dtype=fp32",
    ]  # fmt: skip
    config = resolve(
        "ppo", overrides=[f"model.base={base}", f"data.train={dataset.ref}", "devices.use=[cpu]", *small, *words]
    )
    run = run or RunDir.create(workspace.runs_dir, "ppo")
    run.config_json.write_text(json.dumps(config.model_dump(mode="json")))
    ppo.main(RunContext(run, workspace, config, Report(run)))
    return run


def logged(run: RunDir, key: str) -> list[float]:
    return [row[key] for row in read_jsonl(run.metrics_file)[0] if key in row]


def encoder_of(model: Path) -> tuple[Any, Encoder]:
    tokenizer = load_tokenizer(model)
    return tokenizer, Encoder(tokenizer)


def prompts_of(model: Path, count: int = 6) -> list[Prompt]:
    _, encoder = encoder_of(model)
    asked = [[{"role": "user", "content": text}] for text in QUESTIONS[:count]]
    return [Prompt(at, each, np.array(encoder.prompt_ids(each), np.int32)) for at, each in enumerate(asked)]


def roles_of(
    model: Path, *, dtype: torch.dtype = torch.float32, shared: tuple[Path, ...] = (), stir: bool = True
) -> Roles:
    """Roles with adapters that change something, where they are stirred."""
    set_seed(0)
    backbone = load_model(model, dtype=dtype, device="cpu").requires_grad_(False)
    roles = cast(backbone, PolicyLora(), shared)
    if stir:
        with torch.no_grad():
            for name, parameter in roles.backbone.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.05)
            roles.critic.weight.normal_(std=0.1)
    return roles


def sampled(roles: Roles, prompts: list[Prompt], *, stops: list[int], seed: int = 5, **settings: Any) -> list[Sample]:
    rollout = Rollout(**{"max_new_tokens": 10, **settings})
    return sample(
        roles, list(enumerate(prompts)), rollout, stop_ids=stops, context=512, seed=seed, check_stop=lambda: None
    )


def plain_logprobs(roles: Roles, role: str | None, one: Sample, temperature: float = 1.0) -> torch.Tensor:
    """By the model's own forward on one row alone: log p of every answer token."""
    ids = torch.from_numpy(np.concatenate([one.prompt.ids, one.ids]).astype(np.int64))[None]
    with torch.no_grad(), roles.computing(role) as model, plain_attention(model, roles.stock):
        logits = model(input_ids=ids, use_cache=False).logits[0, len(one.prompt.ids) - 1 : -1]
    found = (logits.float() / temperature).log_softmax(-1)
    return found.gather(1, ids[0, len(one.prompt.ids) :, None]).squeeze(1)
