"""What an annotator said of a row, understood: a number, an order of answers, a text, or new rows.

Models say it in words, which are read leniently and never guessed: where the words allow no reading, there is none.
People say it with a key (`core.annotating.people`), and may say more: that answers are equal, that all are bad, that
nothing needs to be changed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from core.annotating.replies import number_in, spoken
from core.configs.annotate import DIFFICULTIES, MARKS, TaskKind

Mark = Literal["", "tie", "bad", "skip", "fine"]
NAMED = re.compile(r"(?:answer|response|回答|答案)\s*[#\[(]?(\d{1,2})(?!\d|\.\d)", re.I)
LISTED = re.compile(r"^\s*\d{1,2}\s*[.)、]", re.M)
LIST = re.compile(r"1\s*[.)、]\s*[^\W\d]")  # how a list begins, which is no mark of 1
BETTER = r"\s*\**\s*(?:[>＞》≻→]|&gt;)\s*\**\s*"
NUMBER = r"[\[(（]?\d{1,2}[\])）]?"
IN_ORDER = re.compile(rf"(?<![\w.]){NUMBER}(?:{BETTER}{NUMBER})+(?!\w|\.\d)")
NOTHING_ELSE = re.compile(r"[\d\s>＞》≻→,，、;；.。*()（）\[\]#]+")  # numbers alone, listed
CLAUSES = re.compile(r"[\n.;!。；！]|\b(?:because|since|but)\b|因为|由于|但")
# What may stand round names, each a §, if the better one is named first.
PRAISE = re.compile(
    r"§\s*(?:(?:is|was)\s+)?(?:(?:much|far|clearly|slightly)\s+)?better\s+than\s*§"
    r"|§\s*(?:beats|is\s+(?:preferred|superior)\s+to)\s*§|\b(?:prefer|choose|pick)\s*§\s*over\s*§"
    r"|§\s*比\s*§\s*(?:更|要)?好|§\s*(?:优于|好于|胜过)\s*§"
    r"|\bis\s+(?:the\s+)?(?:better|best)\b|\b(?:answer|response|one|choice|verdict|ranking|order)\s+is\b"
    r"|\b(?:(?:from\s+)?best\s+to\s+worst|followed\s+by|the|one|i|my|better|best|answers?|responses?|choice|verdict"
    r"|ranking|order|prefer|choose|pick|then)\b"
    r"|是?(?:更好|较好|最好|更佳|最佳)(?:的是?)?|(?:选择|排序|排名|顺序)是"
    r"|从好到差|我的?|选择|选|认为|排序|排名|顺序|依次|其次|然后|为",
    re.I,
)
SIGNS = re.compile(r"[\s§*_#>＞》≻→,，、:：()（）\[\]\"'“”「」]*")
QUOTES = {'"': '"', "“": "”", "「": "」"}
CODE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)
_NUMBER = r"[\s#*>\-]*(?:\d{1,2}\s*[.)、:：]\s*)?\**\s*"
ASKED = re.compile(rf"^{_NUMBER}(?:question|instruction|q|问题|问|提问|指令)\s*\d*\s*\**\s*[:：]\**", re.I | re.M)
ANSWERED = re.compile(rf"^{_NUMBER}(?:answer|response|output|a|回答|答案|答)\s*\d*\s*\**\s*[:：]\**", re.I | re.M)
ASKING_NAMES, ANSWERING_NAMES = ("question", "instruction", "问题"), ("answer", "output", "response", "回答", "答案")


@dataclass(frozen=True)
class Verdict:
    """One of these. order: places of the answers as they were shown, from 0, the best first. marks: of each of them.
    pairs: new questions with their answers. mark: what only people say."""

    number: float | None = None
    order: tuple[int, ...] | None = None
    marks: tuple[float, ...] | None = None
    text: str | None = None
    pairs: tuple[tuple[str, str], ...] | None = None
    mark: Mark = ""


def read(kind: TaskKind, text: str | None, answers: int = 0) -> Verdict | None:
    """What a model's words say for this task; None for nonsense. `answers`: how many there are to be put in order."""
    if not text:
        return None
    if kind in ("difficulty", "score"):
        bounds = DIFFICULTIES if kind == "difficulty" else MARKS
        number = None if LIST.match(spoken(text)) else number_in(text, *bounds)
        return None if number is None else Verdict(number=number)
    if kind == "rank":
        order = order_in(text, answers)
        return None if order is None else Verdict(order=order)
    if kind == "improve":
        better = unquoted(spoken(text))
        return Verdict(text=better) if better else None
    pairs = pairs_in(text)
    return Verdict(pairs=tuple(pairs)) if pairs else None


def order_in(text: str, count: int) -> tuple[int, ...] | None:
    """The places, from 0, of `count` numbered answers: `2 > 1 > 3`, or every `Answer 2` in turn.

    Every answer must be named, once; the last may be left out. Names say something where nothing stands round them but
    praise of the first, so `Answer 1 is worse than Answer 2` does not; numbers amid prose, where they are put in order.
    Readings that differ are none.
    """
    said = spoken(text)
    numbers = re.findall(r"\d+", said)
    alone = NOTHING_ELSE.fullmatch(said) or (len(numbers) == 1 and not re.search(r"\w{3}", said))
    readings = [numbers if alone else [], *(re.findall(r"\d+", run) for run in IN_ORDER.findall(said))]
    readings += [_named_best_first(part) for part in (said, *CLAUSES.split(said))]
    found = set()
    for reading in readings:
        order = [int(number) - 1 for number in reading]
        whole = len(set(order)) == len(order) and all(0 <= place < count for place in order)
        if whole and len(order) >= max(1, count - 1):
            found.add(tuple(order + [place for place in range(count) if place not in order]))
    return found.pop() if len(found) == 1 else None


def _named_best_first(said: str) -> list[str]:
    """The numbers of the answers that are named, if the words round them praise the first; [] where they may say
    something else, or where a name is but the heading of what follows."""
    rest = PRAISE.sub("", LISTED.sub("", NAMED.sub("§", said)))
    heading = said.rstrip(" *_").endswith((":", "："))
    return NAMED.findall(said) if SIGNS.fullmatch(rest) and not heading else []


def unquoted(text: str) -> str:
    """Without the quotation marks that models like to put round a whole answer."""
    closing = QUOTES.get(text[:1])
    whole = closing is not None and len(text) > 1 and text.endswith(closing) and closing not in text[1:-1]
    return text[1:-1].strip() if whole else text


# -- new rows ---------------------------------------------------------------------------------------------------------
def pairs_in(text: str) -> list[tuple[str, str]]:
    """(question, answer) of each that is whole: from JSON, or from lines that begin with `Question:` and `Answer:`."""
    said = spoken(text)
    return _from_json(said) or _from_lines(said)


def _from_json(said: str) -> list[tuple[str, str]]:
    fenced = CODE.search(said)
    try:
        held: Any = orjson.loads(fenced[1] if fenced else said)
    except orjson.JSONDecodeError:
        return []
    found = []
    for entry in held if isinstance(held, list) else [held]:
        row = entry if isinstance(entry, dict) else {}
        asked, answered = _named(row, ASKING_NAMES), _named(row, ANSWERING_NAMES)
        if asked and answered:
            found.append((asked, answered))
    return found


def _named(row: dict[str, Any], names: Sequence[str]) -> str:
    values = (row.get(name) for name in names)
    return next((value.strip() for value in values if isinstance(value, str) and value.strip()), "")


def _from_lines(said: str) -> list[tuple[str, str]]:
    found = []
    starts = [*ASKED.finditer(said)]
    for at, start in enumerate(starts):
        end = starts[at + 1].start() if at + 1 < len(starts) else len(said)
        part = said[start.end() : end]
        if (middle := ANSWERED.search(part)) is not None:
            asked, answered = part[: middle.start()].strip(" \n*-#"), part[middle.end() :].strip(" \n*-#")
            if asked and answered:
                found.append((asked, answered))
    return found
