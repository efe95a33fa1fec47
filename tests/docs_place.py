"""Where the documents' commands are run: a tiny workspace with what they name, and what their placeholders stand for.

The runs have the names that README.md gives them: its commands are run one after the other, as a reader would.
"""

from __future__ import annotations

import importlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from core.configs.files import resolve
from core.configs.stages import STAGES
from core.data.bring.importing import Order, import_files
from core.jobs.pinning import pin
from core.models.library import STARTER, STARTER_NAME, describe, write_card
from core.report import Report, RunContext
from core.rundir import RunDir, write_text
from core.workspace import Workspace
from tests.conftest import conversations, write_jsonl
from tests.docs_tools import ROOT, blocks, documents

CONTEXT = 8192  # tokens; the presets for GPUs have rows of up to 2048
FEW = ("schedule.max_steps=1", "schedule.batch_size=1", "schedule.gradient_accumulation=1", "data.max_rows=4")
RUNS: dict[str, tuple[str, tuple[str, ...]]] = {  # name: (stage, settings)
    "my-pt": ("pretrain", ("model.base=starter", "data.train=data/pretrain/en.jsonl", "data.block_size=64", *FEW)),
    "my-sft": ("sft", ("model.base=my-pt", "data.train=data/sft/en.jsonl", *FEW)),
    "my-reward": ("reward", ("model.base=my-sft", "data.train=data/reward/en.jsonl", *FEW)),
    "my-ppo": (
        "ppo",
        ("model.base=my-sft", "data.train=data/ppo/en.jsonl", "rewards.models=my-reward", "ppo.episodes=2",
         "rollout.prompts=2", "rollout.max_new_tokens=4", "ppo.epochs=1", "data.max_rows=4", "evaluation.prompts=1"),
    ),
}  # fmt: skip
PLACEHOLDERS = {
    "FILE.jsonl": "exported.jsonl", "FILE": "rows.jsonl", "PAIRS": "data/reward/en.jsonl", "DATASET": "medical",
    "PROMPTS": "data/ppo/en.jsonl", "EXAM": "data/evaluate/en.jsonl", "GENERAL": "data/general/en.jsonl",
    "CORPUS": "data/pretrain/en.jsonl", "RUN": "my-sft", "REWARD-RUN": "my-reward", "MODEL": STARTER,
    "NAME": "medical", "URL": "http://127.0.0.1:9/v1", "SOURCE": "Qwen/Qwen3-0.6B",
    "HOST": "gpu-machine", "OWNER": "owner",
}  # fmt: skip
IN_MODEL = {"NAME": STARTER_NAME}  # behind `model`
PLACEHOLDER = re.compile(
    rf"(?<![\w-])({'|'.join(sorted(map(re.escape, PLACEHOLDERS), key=len, reverse=True))})(?![\w-])"
)

YAML = re.compile(r"# (\w+\.yaml)$", re.MULTILINE)  # the first line of a block that is a file


@dataclass(frozen=True)
class Place:
    """folder: where the commands are run; `data` there leads to the shipped samples."""

    workspace: Workspace
    folder: Path

    def filled(self, words: tuple[str, ...]) -> list[str]:
        """The words with what their placeholders stand for; those for "and so on" are left out."""
        meant = PLACEHOLDERS | (IN_MODEL if words[:1] == ("model",) else {})
        return [fill(word, meant) for word in words if word != "…"]


def fill(text: str, meant: Mapping[str, str]) -> str:
    """`text` with what its placeholders stand for."""
    return PLACEHOLDER.sub(lambda found: meant[found.group(1)], text)


def make_place(folder: Path, tiny_model: Path) -> Place:
    """A workspace with the tiny model in the starter's place, the README's runs and a dataset. In `folder`, the cwd."""
    (folder / "data").symlink_to(ROOT / "data")
    write_jsonl(folder / "rows.jsonl", conversations(20))
    (folder / "questions.txt").write_text("What lowers a fever?\n", encoding="utf-8")
    (folder / "my.yaml").write_text("optim:\n  learning_rate: 2e-5\n", encoding="utf-8")
    (folder / "args.json").write_text('{"learning_rate": 2e-05}', encoding="utf-8")
    for file in documents():
        for block in blocks(file, "yaml"):
            name = YAML.match(block.text)
            if name:  # a file that the document shows
                (folder / name.group(1)).write_text(fill(block.text, PLACEHOLDERS), encoding="utf-8")
    (folder / "card.md").write_text("# Mine\n", encoding="utf-8")
    workspace = Workspace(folder / "workspace")
    _starter(workspace, tiny_model)
    import_files(workspace, [ROOT / "data" / "sft" / "en.jsonl"], Order("medical"))
    for name, (stage, words) in RUNS.items():
        _train(workspace, stage, name, words)
    return Place(workspace, folder)


def _starter(workspace: Workspace, tiny_model: Path) -> None:
    target = workspace.models_dir / STARTER_NAME
    shutil.copytree(tiny_model, target)
    config = json.loads((target / "config.json").read_text(encoding="utf-8"))
    (target / "config.json").write_text(json.dumps({**config, "max_position_embeddings": CONTEXT}), encoding="utf-8")
    write_card(target, describe(target, STARTER_NAME, "starter", STARTER, weights=[]))


def _train(workspace: Workspace, stage: str, name: str, words: tuple[str, ...]) -> None:
    """A finished run, made by its recipe in this process."""
    quiet = () if stage in ("reward", "ppo") else ("evaluation.prompts=[]",)
    named = [f"run.name={name}", "devices.use=[cpu]", "model.dtype=fp32"]
    known = STAGES[stage]
    config = pin(workspace, known, resolve(stage, overrides=[*words, *quiet, *named]))
    run = RunDir.create(workspace.runs_dir, stage)
    write_text(run.config_json, orjson.dumps(config.model_dump(mode="json")).decode())
    importlib.import_module(known.recipe).main(RunContext(run, workspace, config, Report(run)))
