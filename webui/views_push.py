"""What a push has put on a hub, as HTML: the link, and what lies there. No gradio."""

from __future__ import annotations

from core.records_push import Pushed, pushed_file
from core.rundir import RunDir, read_record
from webui.figures import esc, size
from webui.text import t


def sent(run: RunDir, lang: str) -> str:
    """Where a finished push has put what it sent; "" for a run that has sent nothing."""
    pushed = read_record(pushed_file(run.output), Pushed)
    if pushed is None or not pushed.url.startswith(("https://", "http://")):
        return ""
    seen = t("push.private" if pushed.private else "push.public", lang)
    said = t("push.sent", lang, size=size(pushed.size), count=len(pushed.files), seen=seen)
    link = f'<a href="{esc(pushed.url)}" target="_blank" rel="noopener noreferrer">{esc(pushed.url)}</a>'
    return f'<div class="notice good" role="status">{esc(said)} {link}</div>'
