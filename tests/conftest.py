"""Fixtures: a workspace of its own, and a tiny Llama with a tokenizer, both built in code."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from core.workspace import Workspace
from tests.browser_tools import browser, opened, ready
from tests.endpoint_tools import endpoint

__all__ = ["browser", "endpoint", "opened", "ready"]  # fixtures

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: tiny models, and two files of tests at a time

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SYLLABLES = [a + b for a in "bdf" for b in "aeiou"] + list("发烧糖尿病血压药医生")


@pytest.fixture(scope="session", autouse=True)
def _own_device_locks(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests queue among themselves, never behind the runs of whoever uses this machine."""
    os.environ["GALEN_LOCK_DIR"] = str(tmp_path_factory.mktemp("devices"))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def conversations(count: int, seed: int = 0, turns: int = 1) -> list[dict]:
    """ShareGPT rows whose answers can be learnt: each repeats its question's syllables."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        said = []
        for _ in range(turns):
            words = rng.choices(SYLLABLES, k=rng.randint(3, 12))
            said.append({"from": "human", "value": " ".join(words)})
            said.append({"from": "gpt", "value": " ".join(reversed(words))})
        rows.append({"conversations": said})
    return rows


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def chat_file(tmp_path: Path) -> Path:
    """64 one-turn conversations."""
    return write_jsonl(tmp_path / "chat.jsonl", conversations(64))


def build_tokenizer(folder: Path, template: str | None = CHATML):
    """A byte-level BPE tokenizer of 512 entries, pad ≠ eos, saved to `folder`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = [json.dumps(row, ensure_ascii=False) for row in conversations(200)]
    core.train_from_iterator(["user", "assistant", "system", *text], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return tokenizer


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny(tmp_path_factory.mktemp("models") / "tiny-llama")


def build_tiny(folder: Path) -> Path:
    """A folder with a random Llama of 0.1 M parameters (4 heads, 2 of them key/value, tied head) and its tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = build_tokenizer(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
