"""Labels and help of a recipe's steps and their settings. English help is the declaration's own.

The tables are beside: `text_steps_clean` and `text_steps_shape`, (English label, Chinese label, Chinese help) by `near`
and `near.threshold`. A setting that several steps share may stand there once, as `*.only_sources`.
"""

from __future__ import annotations

from core.configs.steps import STEPS
from webui.recipe_draft import fields_of_step
from webui.text_steps_clean import STEP_TEXT as CLEAN_TEXT
from webui.text_steps_shape import STEP_TEXT as SHAPE_TEXT

GROUPS = ("clean", "shape")
_SHAPING = "core.configs.shape_steps"
_TEXT: dict[str, tuple[str, str, str]] = {
    "*.only_sources": ("Only these sources", "仅限来源", "只处理这些来源的行。留空：全部。"),
    "*.except_sources": ("Except these sources", "排除来源", "这些来源的行保持原样。"),
    **CLEAN_TEXT,
    **SHAPE_TEXT,
}

# (setting, value): (English, Chinese), whichever step the setting belongs to.
CHOICES: dict[tuple[str, str], tuple[str, str]] = {
    ("by", "signs"): ("signs", "表面特征"),
    ("by", "column"): ("the row's own score", "行自带的评分"),
    ("by", "row"): ("the whole row", "整行"),
    ("by", "question"): ("the question", "问题"),
    ("by", "answer"): ("the answer", "回答"),
    ("by", "difficulty"): ("difficulty", "难度"),
    ("by", "score"): ("score", "分数"),
    ("by", "chars"): ("characters", "字符数"),
    ("by", "answer_chars"): ("characters of the answers", "回答字符数"),
    ("by", "turns"): ("turns", "轮数"),
    ("where", "row"): ("the whole row", "整行"),
    ("where", "question"): ("the question", "问题"),
    ("where", "answer"): ("the answer", "回答"),
    ("keep", "first"): ("the first", "第一行"),
    ("keep", "longest"): ("the longest", "最长的"),
    ("keep", "best"): ("the best score", "分数最高的"),
    ("keep", "zh"): ("Chinese", "中文"),
    ("keep", "en"): ("Latin script", "拉丁文字"),
    ("keep", "mixed"): ("mixed", "中英混合"),
    ("keep", "code"): ("code", "代码"),
    ("keep", "other"): ("other", "其他"),
    ("what", "url"): ("links", "网址"),
    ("what", "email"): ("e-mail addresses", "邮箱"),
    ("what", "phone"): ("mobile numbers", "手机号"),
    ("what", "landline"): ("landline numbers", "固定电话"),
    ("what", "id_card"): ("ID card numbers", "身份证号"),
    ("what", "bank_card"): ("bank card numbers", "银行卡号"),
    ("what", "html"): ("HTML remains", "HTML 残留"),
    ("what", "us_phone"): ("US phone numbers", "美国电话"),
    ("what", "us_ssn"): ("US social security numbers", "美国社保号"),
    ("topics", "violence"): ("violence", "暴力"),
    ("topics", "sexual"): ("sexual", "色情"),
    ("topics", "gambling"): ("gambling", "赌博"),
    ("topics", "self-harm"): ("self-harm", "自残"),
    ("topics", "drugs"): ("drugs", "毒品"),
    ("topics", "quackery"): ("quackery", "伪医疗"),
    ("placeholders", "auto"): ("that of the row", "与该行一致"),
    ("placeholders", "en"): ("English", "英文"),
    ("placeholders", "zh"): ("Chinese", "中文"),
    ("to", "text"): ("plain text", "纯文本"),
    ("to", "messages"): ("dialogues", "对话"),
    ("to", "prompt"): ("prompts for PPO", "PPO 提示"),
    ("to", "preference"): ("preference pairs", "偏好对"),
    ("prompts", "first"): ("the first", "第一个"),
    ("prompts", "last"): ("the last", "最后一个"),
    ("prompts", "every"): ("every one", "每一个"),
    ("which", "all"): ("all", "全部"),
    ("which", "best-worst"): ("best with worst", "最好与最差"),
    ("which", "adjacent"): ("neighbours", "相邻"),
    ("order", "bad-good"): ("worse, then better", "先差后好"),
    ("order", "good-bad"): ("better, then worse", "先好后差"),
    ("order", "both"): ("both orders", "两种顺序"),
    ("order", "all"): ("both, and each alone", "两种顺序加各自单独"),
    ("action", "drop"): ("drop the row", "去掉该行"),
    ("action", "keep"): ("keep only these", "只留这些"),
    ("action", "mark"): ("mark with score 0", "记 0 分保留"),
    ("action", "set"): ("set where missing", "缺少时添加"),
    ("action", "replace"): ("replace everywhere", "全部替换"),
    ("action", "remove"): ("remove", "删除"),
}


def group_of(do: str) -> str:
    """ "clean" for a step that judges rows, "shape" for one that arranges them."""
    return "shape" if STEPS[do].__module__ == _SHAPING else "clean"


def _found(do: str, name: str) -> tuple[str, str, str] | None:
    return _TEXT.get(f"{do}.{name}" if name else do) or _TEXT.get(f"*.{name}")


def step_label(do: str, lang: str, name: str = "") -> str:
    """The name of a step, or of its setting `name`; what nobody named is shown by its key."""
    found = _found(do, name)
    if found is None:
        return (name or do).replace("_", " ").capitalize()
    return found[1] if lang == "zh" else found[0]


def step_help(do: str, lang: str, name: str = "") -> str:
    """What a step does, or what its setting `name` means."""
    found = _found(do, name)
    if lang == "zh" and found is not None:
        return found[2]
    own = fields_of_step(do)[name].description if name else STEPS[do].__doc__
    return " ".join((own or "").split())


def choice_name(name: str, value: str, lang: str) -> str:
    """A value of a setting that has only a few."""
    english, chinese = CHOICES.get((name, value), (value, value))
    return chinese if lang == "zh" else english
