"""Links, addresses and numbers of persons in a text: where they stand. For the steps `contains` and `mask`.

A number counts only where it cannot well be another: eleven digits that begin as a mobile number does, an identity card
or bank card whose check digit is right, a landline with its area code and a dash. Doses, years, laboratory values and
ranges are none of these.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple


class Spot(NamedTuple):
    """`text[start:end]` is a `kind`."""

    start: int
    end: int
    kind: str


ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
ID_CHECKS = "10X98765432"
DIGITS = re.compile(r"\d(?:[ \-()]*\d){6}", re.ASCII)  # without seven digits near each other there is no number
LINK_END = r"\s<>\"'，。；、！？（）【】《》“”"

PATTERNS: dict[str, re.Pattern[str]] = {
    "url": re.compile(rf"(?:https?://|www\.)[^{LINK_END}]{{3,2000}}", re.IGNORECASE),
    "html": re.compile(
        r"</?(?:p|br|hr|div|span|a|table|tbody|tr|td|th|ul|ol|li|img|font|strong|em|h[1-6]|script|style|sup|sub)"
        r"(?:\s[^<>]{0,300})?/?>|&(?:nbsp|lt|gt|amp|quot|ldquo|rdquo|mdash|#\d{2,5});",
        re.IGNORECASE,
    ),
    "email": re.compile(
        r"(?<![\w.%+-])[a-z0-9._%+-]{1,64}@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){0,4}\.[a-z]{2,24}(?![\w-])",
        re.IGNORECASE | re.ASCII,
    ),
    "id_card": re.compile(
        r"(?<![\w.])[1-9]\d{5}(?:18|19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx](?!\w)", re.ASCII
    ),
    "bank_card": re.compile(
        r"(?<![\w.-])(?:62|4\d|5[1-5]|2[2-7]|35|60)\d\d([ -]?)\d{4}\1\d{4}\1\d{1,4}(?:\1\d{1,3})?(?![\w.-]*\d)",
        re.ASCII,
    ),
    "phone": re.compile(r"(?<![\w.])(?:(?:\+|00)?86[ -]?)?1[3-9]\d([ -]?)\d{4}\1\d{4}(?!\w)(?!\.\d)", re.ASCII),
    "landline": re.compile(
        r"(?<![\w.-])(?:\(0\d{2,3}\) ?|（0\d{2,3}）|0\d{2,3}[-—])[2-9]\d{6,7}(?:-\d{1,6})?(?![\w-])"
        r"|(?<![\w.-])[48]00-(?:\d{3}-\d{4}|\d{4}-\d{3})(?![\w-])",
        re.ASCII,
    ),
    "us_phone": re.compile(
        r"(?<![\w.-])(?:\+?1[-. ])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[-. ])[2-9]\d\d[-.]\d{4}(?![\w-])(?!\.\d)", re.ASCII
    ),
    "us_ssn": re.compile(r"(?<![\w.-])(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\w-])", re.ASCII),
}
NUMBERS = {"id_card", "bank_card", "phone", "landline", "us_phone", "us_ssn"}


def valid_id_card(number: str) -> bool:
    """Whether the last character of 18 is the check digit of the others (GB 11643-1999)."""
    total = sum(weight * int(digit) for weight, digit in zip(ID_WEIGHTS, number[:17], strict=True))
    return ID_CHECKS[total % 11] == number[17].upper()


def luhn(number: str) -> bool:
    """Whether the digits of `number` pass the check of bank cards (ISO/IEC 7812)."""
    digits = [int(char) for char in number if char.isdigit()]
    doubled = [2 * digit - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def valid_bank_card(number: str) -> bool:
    """16 to 19 digits with a right check digit."""
    return 16 <= sum(map(str.isdigit, number)) <= 19 and luhn(number)


CHECKS: dict[str, Callable[[str], bool]] = {"id_card": valid_id_card, "bank_card": valid_bank_card}


def spots(text: str, kinds: Sequence[str]) -> list[Spot]:
    """Everything of these kinds in `text`, in order; where two overlap, the one of the kind that is asked for first."""
    has_numbers = DIGITS.search(text) is not None
    found: list[Spot] = []
    for kind in kinds:
        if has_numbers or kind not in NUMBERS:
            found += [spot for spot in _of_kind(text, kind) if not any(_overlap(spot, other) for other in found)]
    return sorted(found)


def _of_kind(text: str, kind: str) -> Iterator[Spot]:
    if kind == "email" and "@" not in text:
        return
    check = CHECKS.get(kind)
    for match in PATTERNS[kind].finditer(text):
        if check is None or check(match.group()):
            yield Spot(match.start(), match.end(), kind)


def _overlap(one: Spot, other: Spot) -> bool:
    return one.start < other.end and other.start < one.end
