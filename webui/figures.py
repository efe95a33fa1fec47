"""Numbers, times and sizes as a person reads them, and HTML escaping. No gradio, no files."""

from __future__ import annotations

import html
import re
import time
from typing import Any

from webui.text import t


def esc(value: Any) -> str:
    """`value` as text that is safe between tags and inside double-quoted attributes."""
    return html.escape(str(value), quote=True)


def literal(text: str) -> str:
    """`text` for a field's help, which Gradio reads as Markdown: page.js turns the references into characters again."""
    return re.sub(r"[!-/:-@\[-`{-~]", lambda found: f"&#{ord(found[0])};", " ".join(text.split()))


def duration(seconds: float | None, lang: str) -> str:
    """Two units at most: `42 s`, `3 min 5 s`, `2 h 10 min`; a dash for None."""
    if seconds is None:
        return "–"
    whole = max(0, round(seconds))
    if whole < 60:
        return t("time.seconds", lang, n=whole)
    if whole < 3600:
        return t("time.minutes", lang, n=whole // 60, s=whole % 60)
    if whole < 86400:
        return t("time.hours", lang, n=whole // 3600, m=whole % 3600 // 60)
    return t("time.days", lang, n=whole // 86400, h=whole % 86400 // 3600)


def roughly(seconds: float, lang: str) -> str:
    """An estimate, no finer than it is: tens of seconds, minutes, then ten minutes."""
    if seconds < 90:
        return t("time.seconds", lang, n=max(10, round(seconds / 10) * 10))
    if seconds < 3600:
        return t("time.whole_minutes", lang, n=round(seconds / 60))
    return duration(round(seconds / 600) * 600, lang)


def size(count: float | None) -> str:
    """Bytes in the unit that leaves at most three digits before the point."""
    if count is None:
        return "–"
    for unit in ("B", "KB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit in ("B", "KB") or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def figure(value: float | None) -> str:
    """Four significant digits, without an exponent where the number is readable without one."""
    if value is None:
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def clock(seconds: float | None) -> str:
    """A moment: the time of day for today, the date and time otherwise."""
    if seconds is None:
        return "–"
    then, now = time.localtime(seconds), time.localtime()
    if then[:3] == now[:3]:
        return time.strftime("%H:%M", then)
    return time.strftime("%m-%d %H:%M" if then[0] == now[0] else "%Y-%m-%d %H:%M", then)
