"""What rules and weighted lines say when they are wrong (`core.rules`, `core.configs`), in Chinese: by pattern."""

from __future__ import annotations

import re

KINDS_ZH = {"true or false": " true 或 false", "a whole number": "整数", "a number": "数字", "text": "文字"}
PATTERNS: tuple[tuple[str, str], ...] = (
    (r"there is no rule '(?P<a>.*)'; (?P<meant>.*)", "没有规则“{a}”；{meant}"),
    (r"'(?P<a>.*)' is not of the form name=value; a value with blanks stands in quotes",
     "“{a}”不是“名称=值”的形式；带空格的值要加引号"),
    (r"(?P<a>\S*) is given twice", "{a} 写了两次"),
    (r"(?P<a>\S*) needs (?P<b>\S*)=…", "{a} 需要 {b}=…"),
    (r"(?P<a>\S*) fails on an empty answer: (?P<b>.*)", "{a} 遇到空回答就出错：{b}"),
    (r"a quotation mark is not closed", "引号没有成对"),
    (r"the line names no rule", "这一行没有写规则名称"),
    (r"weight is above 0 and at most (?P<a>\S*), not (?P<b>.*)", "weight 须大于 0、不超过 {a}，不能是 {b}"),
    (r"(?P<a>\S*) has no setting '(?P<b>.*)'; (?P<meant>.*)", "{a} 没有参数“{b}”；{meant}"),
    (r"pattern is no regular expression: (?P<a>.*)", "pattern 不是正则表达式：{a}"),
    (r"'(?P<a>.*)' is no number", "“{a}”不是数字"),
    (r"words names no word", "words 里没有词语"),
    (r"low is at least 0, and high neither 0 nor below it", "low 不小于 0，high 不为 0 且不小于 low"),
    (r"size is at least 1", "size 至少为 1"),
    (r"wanted is zh or en, not '(?P<a>.*)'", "wanted 只能是 zh 或 en，不能是“{a}”"),
    (r"tolerance is at least 0", "tolerance 不小于 0"),
    (r"(?P<a>\S*) is (?P<kind>true or false|a whole number|a number|text), not '(?P<b>.*)'",
     "{a} 应为{kind}，不能是“{b}”"),
    (r"(?P<a>.*) is listed twice", "{a} 列了两次"),
    (r"'(?P<a>.*)' needs a weight above 0, at most 100", "“{a}”的权重须大于 0、不超过 100"),
)  # fmt: skip


def detail_zh(text: str) -> str:
    """`text` in Chinese, as far as its pattern is known."""
    for pattern, chinese in PATTERNS:
        found = re.fullmatch(pattern, text, re.DOTALL)
        if found is not None:
            words = found.groupdict()
            words["kind"] = KINDS_ZH.get(words.get("kind", ""), "")
            words["meant"] = _meant_zh(words.get("meant", ""))
            return chinese.format(**words)
    return text


def _meant_zh(text: str) -> str:
    near = re.fullmatch(r"did you mean '(.*)'\?", text)
    if near is not None:
        return f"是不是“{near[1]}”？"
    return "现有：" + text.removeprefix("there are ").replace(", ", "、")
