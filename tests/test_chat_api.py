"""`Chat.load(…).predict(…)`: the three lines that replace the article's `GptModel`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core.chat import ARTICLE, Chat
from core.configs.files import read_settings
from core.errors import ConfigError, ModelError
from core.models.weights import ADAPTER
from core.serving.options import SAMPLINGS, ChatOptions
from tests.models_tools import make_adapter

QUESTIONS = ["一岁宝宝发烧能吃啥药", "who are you?"]


def test_three_lines(tiny_model: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny_model, tmp_path / "lora")
    torch.save(load_file(adapter / ADAPTER), adapter / "adapter_model.bin")
    (adapter / ADAPTER).unlink()
    with Chat.load("llama", tiny_model, adapter, dtype="fp32") as chat:
        answers = chat.predict(QUESTIONS, **{**ARTICLE, "max_new_tokens": 12})
        assert len(answers) == 2
        assert answers == chat.predict(QUESTIONS, **{**ARTICLE, "max_new_tokens": 12})
        conversation = [{"role": "user", "content": QUESTIONS[0]}]
        assert chat.predict([conversation], temperature=0, max_new_tokens=5) == chat.predict(
            QUESTIONS[:1], temperature=0, max_new_tokens=5
        )
        raw = chat.predict(["<s>"], raw=True, temperature=0, max_new_tokens=5)
    with Chat.load("auto", str(tiny_model), dtype="fp32") as plain:
        assert plain.predict(["<s>"], raw=True, temperature=0, max_new_tokens=5) != raw
        with pytest.raises(ValueError, match="top_p"):
            plain.predict(["a"], top_p=3)


def test_what_contradicts_the_folder_is_refused(tiny_model: Path) -> None:
    with pytest.raises(ModelError) as error:
        Chat.load("chatglm", tiny_model)
    assert error.value.code == "model.type_differs"


def test_the_articles_values_are_a_preset() -> None:
    options = read_settings(ChatOptions, ["preset=article", "top_p=0.5"])
    assert (options.max_new_tokens, options.temperature, options.top_p) == (120, 1.0, 0.5)
    assert SAMPLINGS["article"]["repetition_penalty"] == 1.0
    assert read_settings(ChatOptions, []).max_new_tokens == SAMPLINGS["galen"]["max_new_tokens"]
    with pytest.raises(ConfigError):
        read_settings(ChatOptions, ["preset=other"])
