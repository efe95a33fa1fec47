"""Chat templates by name, for tokenizers that bring none, and for models that were taught another one.

The templates are files of Jinja under `jinja/`, with generation marks. They know two variables beside the usual ones:
`start` is what the tokenizer at hand puts before a text by itself (`<s>`, `[gMASK]<sop>`, mostly nothing), `end` the
token that ends an answer. Both are written into the text that `template_text` gives, so that it is whole in itself and
can be saved with a trained model. A comment `{#- stops: … -#}` names further tokens that end an answer, and one that
says `{#- learnt: the last answer -#}` keeps the earlier ones from being learnt: such a model reads all that stands
before its answer in both directions, so that each of its tokens would be told the next one.

Where the authors of a format published one turn only, further turns follow as LLaMA-Factory and MedicalGPT write them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("jinja")


@dataclass(frozen=True)
class Named:
    """`file` holds the template, `origin` says who published the format. `end`: the token that ends an answer where the
    tokenizer has it; its end-of-text token otherwise."""

    file: str
    origin: str
    end: str | None = None


NAMED: dict[str, Named] = {
    "chatml": Named("chatml", "OpenAI; Qwen and many others", end="<|im_end|>"),
    "medicalgpt": Named("medicalgpt", "MedicalGPT, the prompt of ziya-llama-13b-medical-lora"),
    "alpaca": Named("alpaca", "Stanford Alpaca, train.py; further turns after a blank line"),
    "vicuna": Named("vicuna", "FastChat, vicuna_v1.1"),
    "ziya": Named("ziya", "Fengshenbang-LM, finetune_ziya_llama.py"),
    "belle": Named("belle", "MedicalGPT and LLaMA-Factory, for BELLE-LLaMA-EXT-13B"),
    "llama2": Named("llama2", "Llama 2, chat_completion in generation.py"),
    "baichuan": Named("baichuan", "Baichuan-13B-Chat, _build_chat_input"),
    "baichuan2": Named("baichuan2", "Baichuan2, build_chat_input in generation_utils.py"),
    "chatglm": Named("chatglm", "ChatGLM-6B, chat in modeling_chatglm.py"),
    "chatglm-6b": Named(
        "chatglm-6b", "ChatGLM-6B, with the [gMASK]<sop> of its tokenizer before the answer", end="<eop>"
    ),
    "chatglm2": Named("chatglm2", "ChatGLM2-6B, build_prompt in tokenization_chatglm.py"),
    "chatglm3": Named("chatglm3", "ChatGLM3-6B, chat_template in tokenizer_config.json"),
    "bloomz": Named("plain", "BLOOMZ: the question, and nothing else"),
    "plain": Named("plain", "the question, and nothing else"),
}


def template_text(name: str, tokenizer: Any) -> str:
    """The template called `name`, in Jinja, with `start` and `end` of this `tokenizer` set. Raises KeyError for a name
    that is none, LookupError where the tokenizer has no token that could end an answer."""
    named = NAMED[name]
    added = {token.content for token in tokenizer.added_tokens_decoder.values()}
    end = named.end if named.end in added else tokenizer.eos_token
    if not end:
        raise LookupError(name)
    # The last newline of a file is no part of its template.
    text = (FOLDER / f"{named.file}.jinja").read_text(encoding="utf-8").removesuffix("\n")
    return f"{{%- set start = {_quoted(start_of(tokenizer))} -%}}{{%- set end = {_quoted(end)} -%}}{text}"


def start_of(tokenizer: Any) -> str:
    """The tokens that `tokenizer` itself puts before every text, as text."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    before = next((n for n in range(len(whole) - len(bare) + 1) if whole[n : n + len(bare)] == bare), 0)
    return "".join(tokenizer.convert_ids_to_tokens(whole[:before]))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a string of JSON is one of Jinja, too
