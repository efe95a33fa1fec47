"""Parallel text, read as translation dialogues: the same sentence in two languages, in one row.

The languages are those of the keys (`zh`, `en`, or `translation: {"zh", "en"}`); for `source` and `target` they are
told by their script, and Latin script is taken for English. The instruction is in Chinese or in English and differs
from row to row, chosen by the row's text alone, so that the same row always gives the same dialogue.
"""

from __future__ import annotations

import re
import zlib

from core.data.dialogue import RowError, Value, kind_of, text_of
from core.data.kinds import Row

COLUMNS = (("source", "target"), ("src", "tgt"), ("zh", "en"), ("en", "zh"))
SCRIPTS = (
    ("ja", re.compile(r"[぀-ヿ]")),
    ("ko", re.compile(r"[가-힯]")),
    ("zh", re.compile(r"[一-鿿]")),
    ("ru", re.compile(r"[Ѐ-ӿ]")),
    ("ar", re.compile(r"[؀-ۿ]")),
    ("th", re.compile(r"[฀-๿]")),
)
NAMES = {
    "zh": ("中文", "Chinese"), "en": ("英文", "English"), "ja": ("日文", "Japanese"), "ko": ("韩文", "Korean"),
    "ru": ("俄文", "Russian"), "ar": ("阿拉伯文", "Arabic"), "th": ("泰文", "Thai"), "de": ("德文", "German"),
    "fr": ("法文", "French"), "es": ("西班牙文", "Spanish"), "it": ("意大利文", "Italian"),
    "pt": ("葡萄牙文", "Portuguese"), "vi": ("越南文", "Vietnamese"),
}  # fmt: skip
IN_CHINESE = (
    "把下面的内容翻译成{target}：\n{text}",
    "请将下面这段话译成{target}：\n{text}",
    "{text}\n\n上面这段话用{target}怎么说？",
    "翻译成{target}：{text}",
    "下面的{source}是什么意思？请用{target}写出来。\n{text}",
)
IN_ENGLISH = (
    "Translate the following text into {target}:\n{text}",
    "Please put this into {target}:\n{text}",
    "{text}\n\nHow do you say this in {target}?",
    "Translate from {source} to {target}: {text}",
    "What is the {target} for the following {source} text?\n{text}",
)


def is_parallel(row: Value) -> bool:
    """Whether the two sides are texts in two languages."""
    try:
        (first, _), (second, _) = _sides(row)
    except RowError:
        return False
    return first != second


def forward(row: Value) -> Row:
    """From the first language to the second."""
    first, second = _sides(row)
    return _dialogue(first, second)


def backward(row: Value) -> Row:
    """From the second language to the first."""
    first, second = _sides(row)
    return _dialogue(second, first)


def both_ways(row: Value) -> list[Row]:
    """Two rows of each, one for either direction."""
    return [forward(row), backward(row)]


def _sides(row: Value) -> tuple[tuple[str, str], tuple[str, str]]:
    """((language, text), (language, text)). Raises RowError where there are not two texts."""
    pair = row.get("translation")
    if pair is not None:
        if not isinstance(pair, dict) or len(pair) != 2:
            raise RowError("data.not_parallel", found=kind_of(pair))
        keys, row = (*pair,), pair
    else:
        found = [both for both in COLUMNS if all(row.get(key) is not None for key in both)]
        order = list(row)
        keys = min(found, key=lambda both: order.index(both[0])) if found else COLUMNS[0]
    texts = [text_of(row, key) for key in keys]
    first, second = (key if key in NAMES else _script(text) for key, text in zip(keys, texts, strict=True))
    return (first, texts[0]), (second, texts[1])


def _script(text: str) -> str:
    """The language that the text's script tells: the one with most letters, as names and terms may be in Latin."""
    counts = {language: len(pattern.findall(text)) for language, pattern in SCRIPTS}
    if counts["ja"]:
        counts["ja"] += counts.pop("zh")  # Japanese is written with Chinese characters, too
    best = max(counts, key=lambda language: counts[language])
    return best if 3 * counts[best] >= len(re.findall(r"[A-Za-z]+", text)) and counts[best] else "en"


def _dialogue(asked: tuple[str, str], answer: tuple[str, str]) -> Row:
    (source, text), (target, translated) = asked, answer
    chance = zlib.crc32(f"{source}\0{target}\0{text}".encode("utf-8", "replace"))
    chinese = chance % 2 == 0
    forms = IN_CHINESE if chinese else IN_ENGLISH
    names = {"source": _name(source, chinese), "target": _name(target, chinese), "text": text}
    question = forms[chance // 2 % len(forms)]
    return {
        "messages": [
            # one pass over the form, so that braces in the text stay text
            {"role": "user", "content": re.sub(r"\{(source|target|text)\}", lambda match: names[match[1]], question)},
            {"role": "assistant", "content": translated},
        ]
    }


def _name(language: str, chinese: bool) -> str:
    return NAMES[language][0 if chinese else 1]
