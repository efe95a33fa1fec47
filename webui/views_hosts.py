"""What is typed on each host of a run that waits for them, with a button that copies it. No gradio."""

from __future__ import annotations

from core.jobs.hosts import commands
from core.rundir import State
from webui import views
from webui.figures import esc
from webui.text import t


def waiting(shot: views.Snapshot, lang: str) -> str:
    """Nothing for a run of one host, and for one that lives or has ended."""
    typed = commands(shot.run) if shot.state is State.QUEUED else []
    rows = (
        f"<h5>{esc(t('hosts.host', lang, n=number))}</h5>{views.command(words, lang)}"
        for number, words in enumerate(typed)
    )
    return f'<div class="notice calm"><b>{esc(t("hosts.type", lang))}</b>{"".join(rows)}</div>' if typed else ""
