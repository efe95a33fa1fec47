"""What may be wrong inside a text, whatever its row's shape: control characters, mojibake, HTML remains. And mending.

    faults(["Ã©tÃ©"])          [Fault("data.double_encoded", …)]
    mended("Ã©tÃ©", "Ã©tÃ©")    ("été", {"data.double_encoded"})

`check.scan` tells which rows are worth asking about; here a row is looked at character by character. Text that is
about encodings or about markup is believed to mean what it says. Mending is done where it is certain: characters that
nobody can see are taken out, and text that was decoded wrongly is decoded again where every byte of it fits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from core.data.check import scan

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|" + CONTROL.pattern)  # what a terminal takes for a colour goes whole
INVISIBLE = re.compile("[\u200b\u2060\ufeff]")
REPLACED = re.compile("\ufffd+")
FILLER = re.compile("锟斤拷|烫{3,}|屯{3,}")
# Not 编码 or "encoding" alone: genes encode proteins in every other text of a medical set.
ABOUT_ENCODINGS = re.compile(
    r"乱码|字符编码|编码格式|编码方式|字符集|(?:character|text|file|url|byte)s?[ -]?encod|\.(?:en|de)code\("
    r"|unicode|utf-?8|gbk|gb2312|gb18030|ascii|latin-?1|mojibake",
    re.I,
)

_AFTER = re.escape(scan.FOLLOWING)
LATIN = re.compile(f"[\xc2-\xdf][{_AFTER}]|[\xe0-\xef][{_AFTER}]{{2}}|[\xf0-\xf4][{_AFTER}]{{3}}")
LATIN_SURE = re.compile(f"[ÂÃ][{_AFTER}]|[\xe2-\xef][{_AFTER}]{{2}}|[\xf0-\xf4][{_AFTER}]{{3}}")
LATIN_LOST = re.compile("â€|Ã[ \xa0-\xbf]|ï¿½")  # left over where a byte of the sequence is gone
_HALVES = re.escape(scan.FIRST_HALVES.decode("gbk"))
HAN = re.compile(f"(?:[{_HALVES}][^{_HALVES}]{{0,2}}){{{scan.SEVERAL},}}")
READABLE = 0.75  # of the characters that wrongly read Chinese decodes to, where a few bytes are lost
# Letters, signs and ideographs that people write; what mojibake decodes to by chance lies elsewhere.
USUAL = re.compile(
    "[\t\n\r -~\xa0-\u017f\u0370-\u03ff\u0400-\u052f\u0600-\u06ff\u0e00-\u0e7f\u1e00-\u22ff\u2460-\u27bf"
    "\u3000-\u30ff\u3400-\u9fff\uac00-\ud7a3\ufe0f\uff00-\uffef\U0001f300-\U0001faff\U00020000-\U0003ffff]+"
)
STRAY = re.compile("[\x80-\x9f]")
HALFWAY = re.compile(f"{USUAL.pattern}|{STRAY.pattern}")  # once decoded, of text that was decoded wrongly twice

MARKUP = re.compile(
    r"</?(?:div|br|p|span|font|strong|em|img|table|tbody|thead|tr|td|th|li|ul|ol|h[1-6]|sub|sup|section|article|iframe"
    r"|blockquote|center|style|script)(?:\s[^<>]*)?/?>|</?a\s[^<>]*>"
    r"|&(?:nbsp|lt|gt|amp|quot|apos|ldquo|rdquo|mdash|hellip|middot|#\d{2,5}|#x[0-9a-f]{2,5});",
    re.I,
)
FENCED = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.S)
ABOUT_MARKUP = re.compile(
    r"html|css\b|\bxml|javascript|jquery|\bphp\b|markdown|网页|前端|标签|代码|<!--|function\s*\(|className=|=>\s*[<(]"
    r"|\buse(?:State|Effect)\b|\bweb ?(?:page|site)|\bDOM\b|\btags?\b",
    re.I,
)


class Fault(NamedTuple):
    """A code of `core.messages`, what fills its sentence, and where in the row's texts (joined by "\\n") it begins."""

    code: str
    params: dict[str, Any]
    place: int


# -- finding ----------------------------------------------------------------------------------------------------------
def faults(texts: Sequence[str]) -> list[Fault]:
    """What is wrong in the texts of a row: each code once, with the first place where it applies."""
    found: dict[str, Fault] = {}
    whole = "\n".join(texts)
    about = bool(ABOUT_ENCODINGS.search(whole))
    start = 0
    for text in texts:
        for fault in _in_text(text, about):
            found.setdefault(fault.code, fault._replace(place=start + fault.place))
        start += len(text) + 1
    markup = markup_in(whole)
    if markup is not None:
        found["data.markup"] = Fault("data.markup", {"found": markup.group()[:40]}, markup.start())
    return list(found.values())


def _in_text(text: str, about_encodings: bool) -> Iterator[Fault]:
    recoded = text if about_encodings else recode(text)
    if recoded != text:
        place = next(at for at, (old, new) in enumerate(zip(text, recoded, strict=False)) if old != new)
        yield Fault("data.double_encoded", {"found": text[place : place + 12], "meant": recoded[place:][:8]}, place)
    lost = None if about_encodings else FILLER.search(recoded) or LATIN_LOST.search(recoded) or _han_lost(recoded)
    runs = list(REPLACED.finditer(recoded))
    lost = lost or next((run for run in runs if len(run.group()) > 1), None)
    if lost is not None:
        yield Fault("data.mojibake", {"found": lost.group()[:12]}, lost.start())
    elif runs:
        yield Fault("data.replacement_character", {}, runs[0].start())
    controls = list(CONTROL.finditer(recoded))
    if controls:
        names = ", ".join(sorted({f"U+{ord(match.group()):04X}" for match in controls})[:5])
        yield Fault("data.control_characters", {"count": len(controls), "names": names}, controls[0].start())
    invisible = list(INVISIBLE.finditer(recoded))
    if invisible:
        names = ", ".join(sorted({f"U+{ord(match.group()):04X}" for match in invisible}))
        seen = INVISIBLE.sub("", recoded).strip()
        code = "data.invisible_characters" if seen else "data.nothing_visible"
        yield Fault(code, {"count": len(invisible), "names": names}, invisible[0].start())


def _han_lost(text: str) -> re.Match[str] | None:
    """UTF-8 that was read as GBK, some bytes of which were lost on the way."""
    match = HAN.search(text)
    if match is None:
        return None
    meant = text[match.start() :][:200].encode("gb18030", "replace").decode("utf-8", "replace")
    readable = sum("\u4e00" <= char <= "\u9fff" or char in "，。！？、；：" or char <= "~" for char in meant)
    return match if readable >= READABLE * len(meant) else None


def markup_in(text: str) -> re.Match[str] | None:
    """The first tag or entity that was left over, outside of code, and of text that is about markup."""
    if not MARKUP.search(text) or ABOUT_MARKUP.search(text):
        return None
    plain = FENCED.sub(lambda match: " " * len(match.group()), text)
    for match in MARKUP.finditer(plain):
        if not (match.group().lower().startswith("<br") and _in_table(plain, match.start())):
            return match
    return None


def _in_table(text: str, place: int) -> bool:
    """Whether this is a line of a Markdown table, where <br> is the only way to break a cell's line."""
    end = text.find("\n", place)
    line = text[text.rfind("\n", 0, place) + 1 : end if end >= 0 else len(text)]
    return line.count("|") > 1


# -- mending ----------------------------------------------------------------------------------------------------------
def mended(text: str, whole: str) -> tuple[str, set[str]]:
    """`text` as it should be, and the codes of what was mended. `whole`: all texts of its row."""
    codes: set[str] = set()
    new = text if ABOUT_ENCODINGS.search(whole) else recode(text)
    if new != text:
        codes.add("data.double_encoded")
    for pattern, code in ((ESCAPES, "data.control_characters"), (INVISIBLE, "data.invisible_characters")):
        stripped = pattern.sub("", new)
        if stripped != new:
            codes.add(code)
            new = stripped
    return new, codes


def recode(text: str) -> str:
    """The text that was meant, where UTF-8 was read as Latin-1, CP1252 or GBK; `text` itself everywhere else."""
    new = _from_latin(text, HALFWAY)
    if STRAY.search(new):  # it had not gone through that twice
        new = _from_latin(text, USUAL)
    return "\n".join(map(_from_han, new.split("\n"))) if HAN.search(new) else new


def _from_latin(text: str, accepted: re.Pattern[str]) -> str:
    """Decode again and again, as long as what comes out is `accepted`."""

    def decode(match: re.Match[str]) -> str:
        try:
            meant = b"".join(_byte(char) for char in match.group()).decode("utf-8")
        except UnicodeError:
            return match.group()
        return meant if accepted.fullmatch(meant) else match.group()

    while LATIN_SURE.search(text) or len(LATIN.findall(text)) > 1:
        again = LATIN.sub(decode, text)
        if again == text:
            break
        text = again
    return text


def _byte(char: str) -> bytes:
    return char.encode("latin-1") if char <= "\xff" else char.encode("cp1252")


def _from_han(line: str) -> str:
    if not HAN.search(line):
        return line
    try:
        meant = line.encode("gb18030").decode("utf-8")
    except UnicodeError:
        return line
    return meant if USUAL.fullmatch(meant) else line
