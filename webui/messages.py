"""From an exception, a problem or a run's result to the sentence the page shows, in the reader's language."""

from __future__ import annotations

import logging
import re
from typing import Any

from core.errors import GalenError, Problem
from core.jobs.failures import UNKNOWN, classify
from core.messages import MESSAGES, sentence
from core.messages import NEAREST as NEAREST_EN
from core.records import Result
from webui.text import has, t
from webui.text_fields import FIELDS, choice_label, label
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

# A setting as sentences name it: with a value, which may be a blank of the sentence, or without; or a command.
SETTING = re.compile(
    r"`[^`]*`| ?(?<![\w./-])(?P<key>[a-z_]+\.[a-z_]+)(?:=(?P<value>[\w{}:\[\],.-]*[\w}\]]))?(?![\w/]) ?"
)
TICKS = {"true": ("on", "开"), "false": ("off", "关")}
BY_KEY = ("config.not_key_value", "pipeline.bad_word")  # they are about words with keys in them


def code_text(code: str, params: dict[str, Any], lang: str) -> tuple[str, str]:
    """(sentence, remedy) of a code of `core.messages`: the page's own where it has one, with settings by the names that
    its fields have. English where Chinese is missing, never nothing."""
    said, remedy = _blank(code, params, lang)
    params = _params_zh(code, params) if _in_chinese(code, lang) else params
    plain = sentence(code, params)
    return _filled(said, params, plain[0]), _filled(remedy, params, plain[1])


def _in_chinese(code: str, lang: str) -> bool:
    return lang == "zh" and code in MESSAGES_ZH


def _blank(code: str, params: dict[str, Any], lang: str) -> tuple[str, str]:
    """The same with its blanks left open."""
    chinese = _in_chinese(code, lang)
    said, remedy = (MESSAGES_ZH if chinese else MESSAGES).get(code, (code, ""))
    said = SENTENCES.get(code, (said, said))[chinese]
    remedy = REMEDIES.get(code, (remedy, remedy))[chinese]
    if params.get("nearest") == "":
        remedy = remedy.replace(NEAREST if chinese else NEAREST_EN, "").strip()
    stage = code.partition(".")[0]  # where it is one: the same setting may have another name there
    return (said, remedy) if code in BY_KEY else (by_label(said, lang, stage), by_label(remedy, lang, stage))


def _filled(text: str, params: dict[str, Any], otherwise: str) -> str:
    """`text` with `params`; `otherwise` where they are those of an earlier version of Galen."""
    try:
        return text.format(**params)
    except (KeyError, IndexError):
        return otherwise


def _params_zh(code: str, params: dict[str, Any]) -> dict[str, Any]:
    params = {**params, "allowed": allowed_zh(str(params.get("allowed", "")))}
    if code.startswith("step."):
        params.update({key: _names_zh(str(params[key])) for key in NAMED_PARAMS if key in params})
    if "detail" in params:
        params["detail"] = DETAILS_ZH.get(str(params["detail"])) or detail_zh(str(params["detail"]))
    if has(f"state.{params.get('state')}"):
        params["state"] = t(f"state.{params['state']}", lang="zh")
    return params


def by_label(text: str, lang: str, stage: str = "") -> str:
    """`text` with `section.key` and `section.key=value` as the form shows them; commands, in backquotes, stay."""
    chinese = lang == "zh"

    def put(found: re.Match[str]) -> str:
        key, value = found["key"], found["value"]
        if key not in FIELDS:
            return found[0]
        shown = label(stage, key, lang)
        if value is not None:
            named = TICKS[value][chinese] if value in TICKS else choice_label(key, value, lang)
            shown += f"{'：' if chinese else ': '}{named}"
        quoted = f"“{shown}”"  # Chinese has no space about it
        return quoted if chinese else found[0].replace(found[0].strip(), quoted)

    return SETTING.sub(put, text)


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
    """(sentence, remedy) of any exception. What neither Galen has raised nor a full disk, or the like, is logged with
    its traceback."""
    if isinstance(error, GalenError | OSError):
        code, params = classify(error)
        if code != UNKNOWN or isinstance(error, GalenError):
            return code_text(code, params, lang)
    logging.getLogger(__name__).error("in the page", exc_info=error)
    return t("page.unexpected", lang, kind=type(error).__name__), ""


def result_text(result: Result, lang: str) -> tuple[str, str]:
    """Why a run ended: its code in the reader's language, or the sentences that the run itself wrote."""
    if result.code and lang == "zh" and result.code in MESSAGES_ZH:
        return code_text(result.code, result.params, lang)
    own = _blank(result.code, result.params, lang)[1] if result.code in REMEDIES else ""
    stage = result.code.partition(".")[0]
    return result.reason, _filled(own, result.params, "") or by_label(result.remedy, lang, stage)
