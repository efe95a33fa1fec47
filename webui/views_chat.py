"""The chat panes: every word escaped and shown as it is, with what produced it beneath. No gradio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.serving.client import Answer
from core.serving.options import ARTICLE_QUESTIONS
from webui.figures import count, esc
from webui.text import t
from webui.views import empty

HASH = 12  # characters of a SHA-256 that are shown; the whole one is the tooltip

Turn = Mapping[str, Any]  # {"question": str, "base": Reply | None, "run": Reply | None}


def facts(answer: Answer) -> dict[str, Any]:
    """What a reply keeps of its answer, small enough for the browser's storage."""
    return {
        "base": answer.base,
        "base_sha256": answer.base_sha256,
        "adapter": answer.adapter,
        "adapter_sha256": answer.adapter_sha256,
        "tokens": answer.tokens,
        "rate": round(answer.tokens_per_second, 1),
        "finish": answer.finish_reason,
        "seed": answer.seed,
    }


def pane(turns: Sequence[Turn], side: str, lang: str, *, hint: str = "") -> str:
    """One side of the conversation."""
    if not turns:
        return empty(hint or t("chat.empty_base", lang))
    return "".join(_turn(turn, side, lang) for turn in turns)


def _turn(turn: Turn, side: str, lang: str) -> str:
    asked = f'<div class="asked">{esc(turn.get("question", ""))}</div>'
    reply = turn.get(side)
    if not reply:
        return f'<article class="chat-turn">{asked}</article>'
    if reply.get("error"):
        body = f'<div class="notice bad">{esc(reply["error"])}</div>'
    else:
        live = " live" if reply.get("live") else ""
        body = f'<div class="reply{live}">{esc(reply.get("text", ""))}</div>'
    return f'<article class="chat-turn">{asked}{body}{provenance(reply, lang)}</article>'


def provenance(reply: Mapping[str, Any], lang: str) -> str:
    """The line under an answer: hashes of the weights that produced it, its length and speed."""
    made = reply.get("facts")
    if not made:
        stopped = t("chat.stopped", lang) if reply.get("stopped") else ""
        return f'<div class="made">{esc(stopped)}</div>' if stopped else ""
    base = _hash(made["base"], made["base_sha256"])
    if made.get("adapter_sha256"):
        adapter = _hash(made.get("adapter") or "", made["adapter_sha256"])
        line = t("chat.provenance", lang, base="\0", adapter="\1")
    else:
        adapter, line = "", t("chat.provenance_base", lang, base="\0")
    speed = t("chat.speed", lang, tokens=count(made["tokens"]), rate=made["rate"])
    end = t("chat.cut", lang) if made["finish"] == "length" else ""
    tail = " · ".join(part for part in (speed, t("chat.seed_was", lang, seed=made["seed"]), end) if part)
    said = esc(line).replace("\0", base).replace("\1", adapter)
    return f'<div class="made"><span class="weights">{said}</span><span>{esc(tail)}</span></div>'


def _hash(name: str, sha256: str) -> str:
    return f'<code title="{esc(f"{name} {sha256}")}">{esc(sha256[:HASH])}</code>'


def suggestions(lang: str) -> str:
    """What the MedicalGPT article asks its model, and the values with which it asks, one click away."""
    asked = [(question, question) for question in ARTICLE_QUESTIONS]
    buttons = "".join(
        f'<button type="button" class="chip" data-try="{esc(value)}">{esc(shown)}</button>'
        for value, shown in [*asked, ("article", t("chat.article", lang))]
    )
    return f'<div class="tries"><span class="quiet">{esc(t("chat.try", lang))}</span>{buttons}</div>'
