"""How somebody else loads what a run has made, with plain Transformers and PEFT: the code of a model card. Torch-free.

    usage(Shape(origin=Origin("Qwen3-0.6B", "Qwen/Qwen3-0.6B")))

The code is written for what is sent and for nothing else: an adapter on its base or a whole model, one that writes or
one that scores, with the chat template where there is one. Left out: devices and quantisation, which are the reader's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from core.models.origin import Origin

REPO = "OWNER/NAME"  # stands in a card for the repository's id, until it is sent
QUESTION, ANSWER = "What helps against a cold?", "Rest, and plenty to drink."


@dataclass(frozen=True)
class Shape:
    """What is sent. `origin` is that of an adapter's base, None for a whole model.

    scores: it gives answers a score and writes none. chat: its tokenizer has a chat template. tokenizer: it is sent
    along. stops: ids of the tokens that end an answer.
    """

    origin: Origin | None = None
    scores: bool = False
    chat: bool = True
    tokenizer: bool = True
    stops: Sequence[int] = ()


def usage(shape: Shape) -> str:
    """The whole snippet, without its fence."""
    imports = ["import torch"] if shape.scores else []
    imports += ["from peft import PeftModel"] if shape.origin is not None else []
    imports.append(f"from transformers import {_auto(shape)}, AutoTokenizer")
    work = _scoring(shape) if shape.scores else _writing(shape)
    return "\n".join([*imports, "", *_loading(shape), "", *work])


def _auto(shape: Shape) -> str:
    return "AutoModelForSequenceClassification" if shape.scores else "AutoModelForCausalLM"


def _loading(shape: Shape) -> list[str]:
    origin = shape.origin
    if origin is None:
        return [
            f'MODEL = "{REPO}"',
            "",
            "tokenizer = AutoTokenizer.from_pretrained(MODEL)",
            f'model = {_auto(shape)}.from_pretrained(MODEL, dtype="auto").eval()',
        ]
    exactly = [f"revision={_quoted(origin.revision)}"] if origin.revision else []
    exactly += [f"gguf_file={_quoted(origin.file)}"] if origin.file else []
    tokenizer = ["ADAPTER"] if shape.tokenizer else ["BASE", *exactly]
    base = ["BASE", 'dtype="auto"', *exactly, *(["num_labels=1"] if shape.scores else [])]
    lines = [
        f"BASE = {_quoted(origin.called)}"
        + ("" if origin.repo else "  # the folder or the id under which you have it"),
        f'ADAPTER = "{REPO}"',
        "",
        f"tokenizer = AutoTokenizer.from_pretrained({', '.join(tokenizer)})",
        f"base = {_auto(shape)}.from_pretrained({', '.join(base)})",
    ]
    if shape.scores:  # Transformers warns that the base has no score head
        lines[-1] += "  # its new head is replaced by the adapter's"
        lines.append("base.config.pad_token_id = tokenizer.pad_token_id")
    return [*lines, "model = PeftModel.from_pretrained(base, ADAPTER).eval()"]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _writing(shape: Shape) -> list[str]:
    if shape.chat:
        asked = [
            f'messages = [{{"role": "user", "content": "{QUESTION}"}}]',
            "inputs = tokenizer.apply_chat_template(",
            '    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"',
            ")",
        ]
    else:
        asked = ['inputs = tokenizer("The common cold is", return_tensors="pt")']
    ends = f", eos_token_id={list(shape.stops)}" if shape.stops else ""
    return [
        *asked,
        f"output = model.generate(**inputs, max_new_tokens=256, do_sample=False{ends})",
        'print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))',
    ]


def _scoring(shape: Shape) -> list[str]:
    """A score is read at the token that ends the answer; what a template writes behind it would change it."""
    stops = str(list(shape.stops)) if shape.stops else "[tokenizer.eos_token_id]"
    return [
        f'messages = [{{"role": "user", "content": "{QUESTION}"}}, {{"role": "assistant", "content": "{ANSWER}"}}]',
        'ids = tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]',
        f"end = max(place for place, token in enumerate(ids) if token in {stops}) + 1  # where the answer ends",
        "with torch.no_grad():",
        "    print(model(input_ids=torch.tensor([ids[:end]])).logits[0, 0].item())",
    ]
