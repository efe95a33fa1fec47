"""The turns of a conversation: every word escaped and shown as it is, with what produced it beneath. No gradio."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from core.serving.options import ARTICLE_QUESTIONS
from core.talks import BAD, LETTERS, TIE, Made, Pane, Reply, Talk, Turn, votable
from webui.figures import count, duration, esc, figure
from webui.text import t
from webui.text_chat import QUESTIONS
from webui.views import empty

SHORT = 32  # characters of a suggestion that is never cut
HASH = 12  # characters of a SHA-256 that are shown; the whole one is the tooltip
OPENED = re.compile(r"^[ \t]*<think>", re.MULTILINE)
CLOSED, CLOSED_ALONE = "</think>", re.compile(r"^[ \t]*</think>", re.MULTILINE)


def exact(text: str) -> str:
    """`text` escaped, with the line ends that a browser would make others."""
    return esc(text).replace("\r", "&#13;")


# -- turns ------------------------------------------------------------------------------------------------------------
def turns(talk: Talk, start: int, stop: int, lang: str) -> str:
    """The turns `start` … `stop`, each with the answers of all panes side by side."""
    return "".join(_turn(talk, turn, lang) for turn in talk.turns[start:stop])


def nothing_yet(talk: Talk, lang: str) -> str:
    """In place of the turns, while there are none."""
    chosen = len(talk.shown())
    return empty(t("chat.choose" if not chosen else "chat.empty_one" if chosen == 1 else "chat.empty", lang))


def _turn(talk: Talk, turn: Turn, lang: str) -> str:
    panes = talk.shown()
    if turn.replies:
        best = _best(turn, panes)
        cells = "".join(
            _cell(talk, turn, pane, letter, lang, best=pane.id in best)
            for pane, letter in zip(panes, LETTERS, strict=False)
        )
        body = f'<div class="replies cols-{len(panes)}">{cells}</div>{_vote_bar(talk, turn, lang)}'
    else:
        body = f'<p class="quiet">{esc(t("chat.unanswered", lang))}</p>'
    return f'<article class="chat-turn" data-turn="{esc(turn.id)}">{_asked(turn, lang)}{body}</article>'


def _asked(turn: Turn, lang: str) -> str:
    """The question, what can be done with it, and the field in which it can be changed."""
    seed = turn.sampling.get("seed")
    said = t("chat.seed_was", lang, seed=seed) if seed is not None else ""
    tools = f'<span class="seed">{esc(said)}</span>{_act("edit", "chat.edit", lang)}{_act("again", "chat.again", lang)}'
    # A newline right behind the tag is dropped by the browser, so that one of the question's own is kept.
    field = f'<textarea rows="3" aria-label="{esc(t("chat.edit", lang))}">\n{exact(turn.question)}</textarea>'
    edit = (
        f'<div class="asked-edit">{field}<div class="edit-row">{_act("ask", "chat.ask_again", lang)}'
        f"{_act('cancel', 'chat.cancel', lang)}"
        f'<span class="quiet">{esc(t("chat.edit_note", lang))}</span></div></div>'
    )
    question = f'<div class="asked-text">{exact(turn.question)}</div>'
    return f'<header class="asked">{question}<div class="turn-tools">{tools}</div>{edit}</header>'


def _act(act: str, key: str, lang: str, **data: str) -> str:
    more = "".join(f' data-{name}="{esc(value)}"' for name, value in data.items())
    return f'<button type="button" class="act" data-act="{act}"{more}>{esc(t(key, lang))}</button>'


def _cell(talk: Talk, turn: Turn, pane: Pane, letter: str, lang: str, *, best: bool) -> str:
    """What one pane answered, under its name."""
    reply = turn.replies.get(pane.id)
    many = len(talk.shown()) > 1
    head = f'<b class="letter">{letter}</b>' if many else ""
    if reply is None:
        return f'<section class="reply-cell"><div class="who">{head}</div><p class="quiet">–</p></section>'
    name = "" if talk.hidden else f'<span class="name">{esc(reply.name)}</span>'
    won = f'<span class="won">{esc(t("chat.preferred", lang))}</span>' if turn.vote == pane.id else ""
    copy = ""
    if reply.text and not reply.live:
        copy = (
            f'<button type="button" class="act copy" data-copy="{exact(reply.text)}" '
            f'data-done="{esc(t("run.copied", lang))}">{esc(t("run.copy", lang))}</button>'
        )
    below = "" if talk.hidden else f"{_reward(reply, lang, best=best)}{provenance(reply, lang)}"
    classes = f"reply-cell{' won' if won else ''}"
    key = f"{turn.id}-{pane.id}"
    return (
        f'<section class="{classes}" data-pane="{esc(pane.id)}"><div class="stay">'
        f'<div class="who">{head}{name}{won}{copy}</div>{_body(talk, reply, key, lang)}{below}</div></section>'
    )


def _body(talk: Talk, reply: Reply, key: str, lang: str) -> str:
    live = " live" if reply.live else ""
    if reply.waiting:
        return f'<div class="reply live"><span class="loading">{esc(_loading(reply, lang))}</span></div>'
    said = f'<div class="reply{live}">{folded(reply.text, key, lang, live=reply.live)}</div>' if not reply.error else ""
    if reply.error:
        kept = f'<div class="reply">{folded(reply.text, key, lang)}</div>' if reply.text else ""
        why = t("chat.failed_hidden", lang) if talk.hides(reply) else reply.error
        said = f'{kept}<div class="notice bad">{esc(why)}</div>'
    return said


def _loading(reply: Reply, lang: str) -> str:
    seconds = time.time() - reply.asked
    return t("chat.loading_for", lang, time=duration(seconds, lang)) if seconds > 1 else t("chat.loading", lang)


# -- thinking ---------------------------------------------------------------------------------------------------------
def thoughts(text: str) -> list[tuple[bool, str]]:
    """`text` in pieces, each with whether it is thinking; together they are the text, character by character.

    Thinking is what stands in <think> … </think>, begun at the head of a line; what is not closed goes on to the end.
    Some templates open it themselves, and the answer only closes it.
    """
    found: list[tuple[bool, str]] = []
    first, alone = OPENED.search(text), CLOSED_ALONE.search(text)
    at = 0
    if alone is not None and (first is None or alone.end() < first.end()):
        at = alone.end()
        found.append((True, text[:at]))
    while (opened := OPENED.search(text, at)) is not None:
        end = text.find(CLOSED, opened.end())
        end = len(text) if end < 0 else end + len(CLOSED)
        found += [(False, text[at : opened.start()]), (True, text[opened.start() : end])]
        at = end
    found.append((False, text[at:]))
    return [piece for piece in found if piece[1]]


def folded(text: str, key: str, lang: str, *, live: bool = False) -> str:
    """An answer with its thinking folded away. `key` tells the folds of a page apart, so that one stays open."""
    parts = []
    for number, (thinking, piece) in enumerate(thoughts(text)):
        if not thinking:
            parts.append(exact(piece))
            continue
        going_on = live and CLOSED not in piece
        said = t("chat.thinking" if going_on else "chat.thought", lang, n=count(len(piece)))
        parts.append(
            f'<details class="think" data-key="{esc(key)}-{number}"><summary>{esc(said)}</summary>'
            f'<div class="thought">{exact(piece)}</div></details>'
        )
    return "".join(parts)


# -- beneath an answer ------------------------------------------------------------------------------------------------
def _best(turn: Turn, panes: Sequence[Pane]) -> set[str]:
    """The panes with the highest reward, where several have one."""
    scores = {
        pane.id: reply.score
        for pane in panes
        if (reply := turn.replies.get(pane.id)) is not None and reply.score is not None
    }
    top = max(scores.values(), default=None)
    return {pane for pane, score in scores.items() if score == top} if len(scores) > 1 else set()


def _reward(reply: Reply, lang: str, *, best: bool) -> str:
    if reply.judge_error:
        return f'<div class="notice bad reward-failed">{esc(reply.judge_error)}</div>'
    if reply.judging:
        return f'<div class="reward"><span>{esc(t("chat.scoring", lang))}</span></div>'
    if reply.score is None:
        return ""
    mark = f"<em>{esc(t('chat.best', lang))}</em>" if best else ""
    said = t("chat.reward_is", lang, score=figure(reply.score))
    return f'<div class="reward{" best" if best else ""}"><span>{esc(said)}</span>{mark}</div>'


def provenance(reply: Reply, lang: str) -> str:
    """The line under an answer: hashes of the weights that produced it, its length and speed."""
    made = reply.made
    if made is None:
        stopped = t("chat.stopped", lang) if reply.stopped else ""
        return f'<div class="made">{esc(stopped)}</div>' if stopped else ""
    speed = t("chat.speed", lang, tokens=count(made.tokens), rate=made.rate)
    end = t("chat.cut", lang) if made.finish == "length" else ""
    tail = " · ".join(part for part in (speed, t("chat.seed_was", lang, seed=made.seed), end) if part)
    return f'<div class="made"><span class="weights">{_weights(made, lang)}</span><span>{esc(tail)}</span></div>'


def _weights(made: Made, lang: str) -> str:
    base = _hash(made.base_sha256)
    if made.adapter_sha256:
        adapter = _hash(made.adapter_sha256)
        said = esc(t("chat.provenance", lang, base="\0", adapter="\1"))
        return said.replace("\0", base).replace("\1", adapter)
    return esc(t("chat.provenance_base", lang, base="\0")).replace("\0", base)


def _hash(sha256: str) -> str:
    return f'<code title="{esc(sha256)}">{esc(sha256[:HASH])}</code>'


# -- votes ------------------------------------------------------------------------------------------------------------
def _vote_bar(talk: Talk, turn: Turn, lang: str) -> str:
    """Which answer is better: two stand left and right, more go by their letters."""
    panes = votable(talk, turn)
    if not panes:
        return ""
    letters = dict(zip((pane.id for pane in talk.shown()), LETTERS, strict=False))
    two = len(letters) == 2
    better = [
        (pane.id, t(("chat.vote_left", "chat.vote_right")[at], lang))
        if two
        else (pane.id, t("chat.vote_best", lang, letter=letters[pane.id]))
        for at, pane in enumerate(panes)
    ]
    choices = [
        *better,
        (TIE, t("chat.vote_tie", lang)),
        (BAD, t("chat.vote_bad" if two else "chat.vote_all_bad", lang)),
    ]
    buttons = "".join(
        f'<button type="button" data-act="vote" data-choice="{esc(value)}" '
        f'aria-pressed="{"true" if turn.vote == value else "false"}">{esc(label)}</button>'
        for value, label in choices
    )
    asked = esc(t("chat.vote_hidden" if talk.hidden else "chat.vote", lang))
    return f'<div class="vote"><span class="quiet">{asked}</span><span class="choose">{buttons}</span></div>'


# -- beneath the question ---------------------------------------------------------------------------------------------
def foot(lang: str, drawers: Sequence[str]) -> str:
    """Questions one click away, and the values with which the MedicalGPT article asks; what opens the drawers; and that
    none of it is advice."""
    asked = [(question, question) for question in (*QUESTIONS[lang], *ARTICLE_QUESTIONS)]
    chips = "".join(
        f'<button type="button" class="chip{"" if len(shown) > SHORT else " short"}" data-try="{esc(value)}" '
        f'title="{esc(shown)}">{esc(shown)}</button>'
        for value, shown in [*asked, ("article", t("chat.article", lang))]
    )
    handles = "".join(
        f'<button type="button" class="act" data-drawer="{name}" aria-expanded="false">'
        f"{esc(t(f'chat.drawer_{name}', lang))}</button>"
        for name in drawers
    )
    tries = f'<div class="tries"><span class="quiet">{esc(t("chat.try", lang))}</span>{chips}</div>'
    advice = f'<span class="quiet">{esc(t("chat.no_advice", lang))}</span>'
    return f'{tries}<div class="foot-row"><span class="drawers">{handles}</span>{advice}</div>'
