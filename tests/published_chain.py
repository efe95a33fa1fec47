"""Tiny checkpoints in the layouts of published Baichuan and ChatGLM, through every stage. Not part of the suite.

    python -m tests.published_chain [NAME …]        about half a minute each

Each folder holds what was published, and no more: `.bin` shards in the authors' names, config.json with their code,
`tokenizer.model` trained by SentencePiece itself. It is brought in, read on (PT), taught to answer (SFT), judged
(reward), rewarded (PPO), merged, and asked a question. ChatGLM-6B, whose tokenizer is of a kind of its own, goes
through the same in test_chatglm_6b.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceTrainer
from torch import Tensor

from core.chat import Chat
from core.configs.files import resolve
from core.configs.stages import STAGES
from core.jobs.pinning import pin
from core.models.library import find_model
from core.models.spm import from_sentencepiece
from core.report import Report, RunContext
from core.rundir import RunDir, write_json
from core.workspace import Workspace
from tests import test_baichuan_13b, test_conversions
from tests.conftest import conversations, write_jsonl

Published = tuple[dict[str, Any], dict[str, Tensor]]
RESERVED = [f"<reserved_{number}>" for number in (102, 103, 106, 107)]  # Baichuan's user and assistant
BAICHUAN = {"add_dummy_prefix": False, "user_defined_symbols": RESERVED}
OWN_CODE = {"add_bos_token": False, "auto_map": {"AutoTokenizer": ["tokenization_baichuan.BaichuanTokenizer", None]}}
COMMON = ["model.dtype=fp32", "devices.use=[cpu]", "optim.learning_rate=1e-2", "data.bad_rows=drop"]
SHORT = [*COMMON, "lora.rank=4", "schedule.max_steps=3", "evaluation.prompts=[]"]


def large(second: bool) -> Published:
    config = test_baichuan_13b.published_config(5, second)
    return {**config, "vocab_size": test_baichuan_13b.VOCABULARY}, test_baichuan_13b.published_tensors()


def third() -> Published:
    config, weights = test_conversions.chatglm2()
    return {**config, "_name_or_path": "THUDM/chatglm3-6b"}, weights


# name: (what was published, options of its SentencePiece model, tokens that the authors' code adds to it)
KINDS: dict[str, tuple[Callable[[], Published], dict[str, Any], int]] = {
    "Baichuan-7B": (lambda: test_conversions.baichuan(False), BAICHUAN, 0),
    "Baichuan2-7B-Chat": (lambda: test_conversions.baichuan(True), BAICHUAN, 0),
    "chatglm2-6b": (test_conversions.chatglm2, {}, 5),
    "chatglm3-6b": (third, {}, 9),
    "Baichuan-13B-Chat": (lambda: large(False), BAICHUAN, 0),
    "Baichuan2-13B-Chat": (lambda: large(True), BAICHUAN, 0),
}


def publish(name: str, folder: Path, corpus: Path) -> Path:
    """The folder as its authors would have left it."""
    make, options, added = KINDS[name]
    folder.mkdir()
    SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(folder / "tokenizer"), vocab_size=340, hard_vocab_limit=False,
        model_type="bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        minloglevel=2, **options,
    )  # fmt: skip
    spm = (folder / "tokenizer.model").read_bytes()
    size = from_sentencepiece(folder / "tokenizer.model").get_vocab_size() + added
    test_conversions.VOCABULARY = test_baichuan_13b.VOCABULARY = size
    test_conversions.publish(folder, *make())
    for path in [*folder.glob("*token*"), *folder.glob("chat_template*")]:  # those of the tests' own tokenizer
        path.unlink()
    (folder / "tokenizer.model").write_bytes(spm)
    if options is BAICHUAN:
        (folder / "tokenizer_config.json").write_text(json.dumps(OWN_CODE))
    return folder


def run(workspace: Workspace, stage: str, *words: str) -> RunDir:
    config = pin(workspace, STAGES[stage], resolve(stage, overrides=words, workspace=workspace))
    made = RunDir.create(workspace.runs_dir, stage)
    write_json(made.config_json, config.model_dump(mode="json"))
    recipe = importlib.import_module(STAGES[stage].recipe)
    recipe.main(RunContext(made, workspace, config, Report(made)))
    return made


def chain(workspace: Workspace, name: str, folder: Path, data: Path) -> str:
    """Every stage on the folder; returns what it answers in the end."""
    run(workspace, "fetch", f"model.source={folder}")
    fitting = [*SHORT, "data.max_length=60"]
    read = run(workspace, "pretrain", f"model.base={name}", f"data.train={data / 'text.jsonl'}", "data.block_size=32",
               *SHORT)  # fmt: skip
    told = run(workspace, "sft", f"model.base={read.id}", f"data.train={data / 'chat.jsonl'}", *fitting)
    judged = run(workspace, "reward", f"model.base={told.id}", f"data.train={data / 'pairs.jsonl'}",
                 *(word for word in fitting if "prompts" not in word))  # fmt: skip
    rewarded = run(workspace, "ppo", f"model.base={told.id}", f"data.train={data / 'chat.jsonl'}",
                   f"rewards.models=[{judged.id}]", "rollout.max_new_tokens=4", "ppo.episodes=8", "ppo.batch_size=4",
                   "data.max_length=48", *COMMON)  # fmt: skip
    merged = run(workspace, "merge", f"model.base={rewarded.id}", "devices.use=[cpu]")
    with Chat.load("auto", merged.output / "model", dtype="fp32") as chat:
        return chat.predict(["ba be"], max_new_tokens=4)[0]


def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        os.environ["GALEN_LOCK_DIR"] = str(root / "devices")
        rows = conversations(40)
        write_jsonl(root / "chat.jsonl", rows)
        write_jsonl(
            root / "text.jsonl", [{"text": "黄疸 ba be 黄疸 bi bo. " * 4 + str(number)} for number in range(24)]
        )
        pairs = [{"prompt": f"ba {number}", "chosen": "bo bu bo", "rejected": "di du"} for number in range(24)]
        write_jsonl(root / "pairs.jsonl", pairs)
        said = [turn["value"] for row in rows for turn in row["conversations"]]
        (root / "corpus.txt").write_text("\n".join([*said, *["黄疸 ba be. 患者发烧。问：答：[Round 0]"] * 20]), "utf-8")
        workspace = Workspace(root / "workspace")
        for name in names or KINDS:
            began = time.monotonic()
            answer = chain(workspace, name, publish(name, root / name, root / "corpus.txt"), root)
            became = find_model(workspace, name).architecture
            print(f"== {name} → {became}: every stage in {time.monotonic() - began:.0f} s; it says {answer!r}")


if __name__ == "__main__":
    main(sys.argv[1:])
