"""From an exception, a problem or a run's result to the sentence the page shows, in the reader's language."""

from __future__ import annotations

import logging
from typing import Any

from core.errors import GalenError, Problem
from core.messages import sentence
from core.records import Result
from webui.text import t
from webui.text_zh import MESSAGES_ZH, NEAREST

# The words in which `core.configs.files` says what a setting takes; its sentences carry them as a parameter.
ALLOWED_ZH = {
    "one of ": "以下之一：",
    " or empty": "，或留空",
    "a whole number": "整数",
    "a number": "数字",
    "true or false": "是或否",
    "a list such as": "列表，如",
    "a group of settings": "一组设置",
    "text": "文字",
}
# What the settings' own checks say (`core.configs.sections`), as the parameter `detail`.
DETAILS_ZH = {
    "name at least one device": "请至少选择一个设备",
    "a device is listed twice": "同一设备列了两次",
}


def code_text(code: str, params: dict[str, Any], lang: str) -> tuple[str, str]:
    """(sentence, remedy) of a code of `core.messages`; English where Chinese is missing, never nothing."""
    if lang != "zh" or code not in MESSAGES_ZH:
        return sentence(code, params)
    said, remedy = MESSAGES_ZH[code]
    if params.get("nearest") == "":
        remedy = remedy.replace(NEAREST, "").strip()
    params = {**params, "allowed": _allowed_zh(str(params.get("allowed", "")))}
    if params.get("detail") in DETAILS_ZH:
        params["detail"] = DETAILS_ZH[params["detail"]]
    try:
        return said.format(**params), remedy.format(**params)
    except (KeyError, IndexError):
        return sentence(code, params)


def _allowed_zh(text: str) -> str:
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
    return result.reason, result.remedy
