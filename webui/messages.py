"""From an exception, a problem or a run's result to the sentence the page shows, in the reader's language."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from core.errors import GalenError, Problem
from core.messages import MESSAGES, sentence
from core.messages import NEAREST as NEAREST_EN
from core.records import Result
from webui.text import has, t
from webui.text_remedies import REMEDIES, SENTENCES
from webui.text_zh import MESSAGES_ZH, NEAREST
from webui.text_zh_rules import detail_zh
from webui.text_zh_steps import NAMED_PARAMS, NAMES_ZH

# The words in which `core.configs.files` says what a setting takes; its sentences carry them as a parameter.
ALLOWED_ZH = {
    "one of ": "以下之一：",
    " or empty": "，或留空",
    "a whole number": "整数",
    "a number": "数字",
    "true or false": "是或否",
    "a list such as": "列表，如",
    "a list of": "列表，可含",
    "names and values such as": "名称与值，如",
    "a group of settings": "一组设置",
    "text": "文字",
}
# What the settings' own checks say (`core.configs`), as the parameter `detail`.
DETAILS_ZH = {
    "the number is too large": "数值过大",
    "name at least one device": "请至少选择一个设备",
    "a device is listed twice": "同一设备列了两次",
    "write numbers and ranges with commas, such as 3, 7, 10-20": "请写行号或范围，用逗号隔开，例如 3, 7, 10-20",
    "rows count from 1, and a range goes from the smaller number to the larger one": "行号从 1 数起，范围须由小到大",
    "a share is below 1, a number of rows is a whole number": "小于 1 的是比例，行数须为整数",
    "give validation rows, test rows, or both": "验证集和测试集至少要有一个",
    "the shares of validation and test leave nothing to train on": "验证集与测试集的比例之和没有给训练集留下任何行",
    "write the system message, or choose remove": "请填写系统提示，或选择移除（remove）",
    "write an address that begins with https:// or http://, or the $NAME of a variable": (
        "请填写以 https:// 或 http:// 开头的地址，或以 $NAME 引用环境变量"
    ),
    "there are no such buckets": "没有这些分桶",
}


def code_text(code: str, params: dict[str, Any], lang: str) -> tuple[str, str]:
    """(sentence, remedy) of a code of `core.messages`, with the page's own remedy where it has one; English where
    Chinese is missing, never nothing."""
    if lang != "zh" or code not in MESSAGES_ZH:
        said, remedy = sentence(code, params)
        return _own(SENTENCES, code, params) or said, _own(REMEDIES, code, params) or remedy
    params = {**params, "allowed": allowed_zh(str(params.get("allowed", "")))}
    if code.startswith("step."):
        params.update({key: _names_zh(str(params[key])) for key in NAMED_PARAMS if key in params})
    if "detail" in params:
        params["detail"] = DETAILS_ZH.get(str(params["detail"])) or detail_zh(str(params["detail"]))
    if has(f"state.{params.get('state')}"):
        params["state"] = t(f"state.{params['state']}", lang)
    said, remedy = MESSAGES_ZH[code]
    said = SENTENCES.get(code, ("", said))[1]
    remedy = REMEDIES.get(code, ("", remedy))[1]
    if params.get("nearest") == "":
        remedy = remedy.replace(NEAREST, "").strip()
    try:
        return said.format(**params), remedy.format(**params)
    except (KeyError, IndexError):
        return sentence(code, params)


def _own(table: Mapping[str, tuple[str, str]], code: str, params: dict[str, Any]) -> str:
    """What the page says itself, in English; "" where it says nothing, or a run of an earlier version left no such
    parameters."""
    text = table.get(code, ("", ""))[0]
    if params.get("nearest") == "":
        text = text.replace(NEAREST_EN, "").strip()
    try:
        return text.format(**params)
    except (KeyError, IndexError):
        return ""


def reason(code: str, lang: str) -> str:
    """What a code says, with its blanks left open: one line for the many rows that have it."""
    table = MESSAGES_ZH if lang == "zh" and code in MESSAGES_ZH else MESSAGES
    return re.sub(r"…[.。]$", "…", re.sub(r"\{\w+\}", "…", table.get(code, (code, ""))[0]))


def _names_zh(text: str) -> str:
    """`violence, drugs` in Chinese; a word that has no Chinese stays."""
    return "、".join(NAMES_ZH.get(word, word) for word in text.split(", "))


def allowed_zh(text: str) -> str:
    for english, chinese in ALLOWED_ZH.items():
        text = text.replace(english, chinese)
    return text


def join(said: str, remedy: str) -> str:
    return " ".join(part for part in (said, remedy) if part)


def problem_text(problem: Problem, lang: str) -> str:
    """One line for beside the field or the row."""
    return join(*code_text(problem.code, problem.params, lang))


def error_text(error: BaseException, lang: str) -> tuple[str, str]:
    """(sentence, remedy) of any exception. What Galen did not raise itself is logged with its traceback."""
    if isinstance(error, GalenError):
        return code_text(error.code, error.params, lang)
    logging.getLogger(__name__).error("in the page", exc_info=error)
    return t("page.unexpected", lang, kind=type(error).__name__), ""


def result_text(result: Result, lang: str) -> tuple[str, str]:
    """Why a run ended: its code in the reader's language, or the sentences that the run itself wrote."""
    if result.code and lang == "zh" and result.code in MESSAGES_ZH:
        return code_text(result.code, result.params, lang)
    return result.reason, _own(REMEDIES, result.code, result.params) or result.remedy
