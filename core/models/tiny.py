"""A model so small that a whole chain of stages takes a minute on any CPU: for rehearsals, and for the tests.

A random Llama of 0.1 M parameters (4 heads, 2 of them key/value, tied head) and a byte-level tokenizer of 512 entries,
the same on every machine. It says nothing that means anything. `python -m core.models.tiny WORKSPACE` puts it among the
models of a workspace. torch is imported when the weights are drawn, and not before.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from core.models.hashes import weight_hashes
from core.models.library import ModelCard, register
from core.workspace import Workspace

NAME = "rehearsal-tiny"  # in a workspace
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SYLLABLES = [a + b for a in "bdf" for b in "aeiou"] + list("发烧糖尿病血压药医生")


def conversations(count: int, seed: int = 0, turns: int = 1) -> list[dict[str, Any]]:
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


def build_tokenizer(folder: Path, template: str | None = CHATML) -> Any:
    """A byte-level BPE tokenizer of 512 entries, pad ≠ eos, saved to `folder`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = [json.dumps(row, ensure_ascii=False) for row in conversations(200)]
    core.train_from_iterator(["user", "assistant", "system", *text], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return tokenizer


def build_model(folder: Path) -> None:
    """The model and its tokenizer, saved to `folder`. Draws from torch's own generator, which it seeds."""
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


def bring_in(workspace: Workspace) -> ModelCard:
    """Build it as a model of the workspace. Raises ModelError `model.name_taken` where another one is called so."""
    workspace.cache_dir.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=workspace.cache_dir) as folder:
        build_model(Path(folder))
        weights = weight_hashes(Path(folder), workspace)
        return register(workspace, Path(folder), NAME, source=NAME, weights=weights)


if __name__ == "__main__":
    bring_in(Workspace(sys.argv[1]))
