"""The rollout browser of a PPO run as HTML: answers with their scores, each token shaded by its KL; a search over all
steps; one held-out prompt's answers over time. `webui.rollouts` reads them. No gradio.

Whatever can be clicked carries what is asked for as JSON (`data-ask`); `ROLLOUTS_JS` sends it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from core.records_ppo import Episode
from core.rundir import RunDir
from webui import rollouts
from webui.figures import count, esc, figure
from webui.rollouts import HELD_OUT, SORTS, TRAINING, Asked
from webui.text import t
from webui.views import empty

PAGE = 16  # answers at once
TOKENS = 400  # of an answer, until the whole of it is asked for
LEVELS = (0.1, 0.5, 1.0, 2.0)  # nats from which a token is shaded, and shaded more
BYTES = re.compile(r"[0-9A-F]{2}( [0-9A-F]{2})*")  # how a token is written that is no whole character
KINDS = {TRAINING: "rollouts.training", HELD_OUT: "rollouts.held_out"}
ORDERS = dict(zip(SORTS, ("rollouts.sampled", "rollouts.highest", "rollouts.lowest"), strict=True))

# Asks for what was clicked or typed. A field that is drawn anew shows what was sent, unless somebody types in it.
ROLLOUTS_JS = """
const ask = (data) => trigger('pick', data);
element.addEventListener('click', (e) => {
  const button = e.target.closest('[data-ask]');
  if (button && !button.disabled) ask(JSON.parse(button.dataset.ask));
});
const typed = (e) => {
  const field = e.target.closest?.('[data-field]');
  if (!field || field.value === field.asked) return;
  field.asked = field.value;
  ask({ [field.dataset.field]: field.value });
};
element.addEventListener('change', typed);
element.addEventListener('search', typed, true);
new MutationObserver(() => {
  for (const field of element.querySelectorAll('[data-field]')) {
    if (field.sent === field.defaultValue) continue;
    field.sent = field.asked = field.defaultValue;
    if (document.activeElement !== field || field.dataset.field === 'step') field.value = field.defaultValue;
  }
}).observe(element, { childList: true, subtree: true, attributes: true });
"""


def browser(run: RunDir, asked: Asked, lang: str) -> str:
    """The inner tab "Rollouts" of a PPO run."""
    asked = asked.of(run.id)
    known = rollouts.steps(run, asked.kind)
    if not known and not rollouts.steps(run, HELD_OUT if asked.kind == TRAINING else TRAINING):
        return empty(t("rollouts.none", lang))
    if asked.prompt is not None and asked.kind == HELD_OUT:
        body = _over_time(run, asked.prompt, asked, lang)
    elif not known:
        body = empty(t("rollouts.none_held_out" if asked.kind == HELD_OUT else "rollouts.none", lang))
    elif asked.search or asked.every:
        body = _everywhere(run, asked, lang)
    else:
        body = _one_step(run, asked, known, lang)
    return f'<div class="rollouts">{_bar(asked, lang)}{body}</div>'


# -- what is asked for ------------------------------------------------------------------------------------------------
def _ask(**data: Any) -> str:
    return f'data-ask="{esc(json.dumps(data))}"'


def _segments(ask: str, chosen: str, names: dict[str, str], lang: str) -> str:
    buttons = "".join(
        f'<button type="button" aria-pressed="{"true" if value == chosen else "false"}" {_ask(**{ask: value})}>'
        f"{esc(t(key, lang))}</button>"
        for value, key in names.items()
    )
    return f'<span class="choose">{buttons}</span>'


def _bar(asked: Asked, lang: str) -> str:
    hint = esc(t("rollouts.search", lang))
    field = (
        f'<input type="search" data-field="search" value="{esc(asked.search)}" placeholder="{hint}" '
        f'aria-label="{hint}" maxlength="200">'
    )
    order = "" if asked.prompt is not None and asked.kind == HELD_OUT else _segments("sort", asked.sort, ORDERS, lang)
    return f'<div class="roll-bar">{_segments("kind", asked.kind, KINDS, lang)}{order}{field}</div>'


def _sign(sign: str, meaning: str, data: dict[str, Any] | None, lang: str) -> str:
    """A small button; nothing to be asked for: it is off."""
    off = " disabled" if data is None else ""
    said = esc(t(meaning, lang))
    return (
        f'<button type="button" class="sign" title="{said}" aria-label="{said}"{off} {_ask(**(data or {}))}>'
        f"{sign}</button>"
    )


def _link(key: str, data: dict[str, Any], lang: str, **params: Any) -> str:
    return f'<button type="button" class="to" {_ask(**data)}>{esc(t(key, lang, **params))}</button>'


# -- one rollout ------------------------------------------------------------------------------------------------------
def _one_step(run: RunDir, asked: Asked, known: Sequence[int], lang: str) -> str:
    step = known[-1] if asked.step is None else min(known, key=lambda at: (abs(at - (asked.step or 0)), at))
    at = known.index(step)
    found = rollouts.rollout(run, asked.kind, step, asked.sort)
    earlier = {"step": known[at - 1]} if at > 0 else None
    later = {"step": known[at + 1]} if at + 1 < len(known) else None
    newest = {"step": None} if asked.step is not None else None
    field = f'<input class="to-page" data-field="step" inputmode="numeric" value="{step}">'
    place = (
        f'<span class="turn-pages">{_sign("‹", "rollouts.before", earlier, lang)}'
        f"<label>{esc(t('rollouts.step', lang))} {field}</label><span>{esc(t('rollouts.of', lang, n=known[-1]))}</span>"
        f"{_sign('›', 'rollouts.after', later, lang)}{_sign('»', 'rollouts.newest', newest, lang)}"
        f"{_link('rollouts.all_steps', {'every': True}, lang)}</span>"
    )
    return f'<div class="roll-place">{place}<span>{esc(_facts(found, lang))}</span></div>' + _list(found, asked, lang)


def _facts(found: Sequence[Episode], lang: str) -> str:
    if not found:
        return ""
    mean = {
        "reward": figure(sum(each.reward for each in found) / len(found)),
        "kl": figure(sum(sum(each.kl) for each in found) / len(found)),
        "ended": count(sum(each.ended for each in found)),
    }
    return t("rollouts.facts", lang, n=count(len(found)), **mean)


# -- all steps --------------------------------------------------------------------------------------------------------
def _everywhere(run: RunDir, asked: Asked, lang: str) -> str:
    found = rollouts.search(run, asked)
    n = count(len(found.episodes))
    if found.stopped is None:
        said = t("rollouts.hits_all", lang, n=n)
    else:
        said = t("rollouts.hits", lang, n=n, step=found.stopped)
    back = _link("rollouts.newest", {"step": None}, lang) if not asked.search else ""
    more = _link("rollouts.older", {"before": found.stopped}, lang) if found.stopped is not None else ""
    place = f'<div class="roll-place"><span class="turn-pages">{back}<span>{esc(said)}</span>{more}</span></div>'
    return place + (_list(found.episodes, asked, lang) or empty(t("rollouts.no_hits", lang)))


# -- one prompt over time ---------------------------------------------------------------------------------------------
def _over_time(run: RunDir, prompt: int, asked: Asked, lang: str) -> str:
    """The answers to a held-out prompt, the first one on top: it was written before training."""
    found, evaluations = rollouts.over_time(run, prompt)
    every = sorted(each.number for each in rollouts.rollout(run, HELD_OUT, (rollouts.steps(run, HELD_OUT) or [0])[-1]))
    at = every.index(prompt) if prompt in every else -1
    before = {"prompt": every[at - 1]} if at > 0 else None
    after = {"prompt": every[at + 1]} if 0 <= at < len(every) - 1 else None
    key = "rollouts.evaluations" if len(found) == evaluations else "rollouts.evaluations_cut"
    said = t(key, lang, n=evaluations, **({} if len(found) == evaluations else {"shown": len(found) - 1}))
    head = (
        f'<div class="roll-place"><span class="turn-pages">{_link("rollouts.all_prompts", {"kind": HELD_OUT}, lang)}'
        f"{_sign('‹', 'rollouts.last_prompt', before, lang)}{_sign('›', 'rollouts.next_prompt', after, lang)}</span>"
        f"<span>{esc(said)}</span></div>"
    )
    if not found:
        return head + empty(t("rollouts.no_hits", lang))
    asked_of = f'<div class="roll-asked">{esc(found[0].prompt)}</div>{_reference(found[0], lang)}'
    return head + asked_of + _key(lang) + "".join(_answer(each, asked, lang, alone=False) for each in found)


# -- answers ----------------------------------------------------------------------------------------------------------
def _list(found: Sequence[Episode], asked: Asked, lang: str) -> str:
    pages = -(-len(found) // PAGE)
    page = min(asked.page, max(0, pages - 1))
    shown = found[page * PAGE : (page + 1) * PAGE]
    if not shown:
        return ""
    turn = ""
    if pages > 1:
        earlier = {"page": page - 1} if page > 0 else None
        later = {"page": page + 1} if page + 1 < pages else None
        place = f"{page * PAGE + 1}–{page * PAGE + len(shown)} / {count(len(found))}"
        turn = (
            f'<div class="roll-place"><span class="turn-pages">{_sign("‹", "rollouts.page_before", earlier, lang)}'
            f"<span>{place}</span>{_sign('›', 'rollouts.page_after', later, lang)}</span></div>"
        )
    return _key(lang) + "".join(_answer(each, asked, lang) for each in shown) + turn


def _key(lang: str) -> str:
    return f'<p class="hint">{esc(t("rollouts.shade", lang))}</p>'


def _answer(each: Episode, asked: Asked, lang: str, *, alone: bool = True) -> str:
    """One answer; `alone`: with the prompt that it answers."""
    scores = "".join(f"<span>{esc(name)} <b>{figure(score)}</b></span>" for name, score in each.scores.items())
    cut = "" if each.ended else f'<span class="cut">{esc(t("rollouts.cut", lang))}</span>'
    kl = f"<span>{esc(t('rollouts.kl', lang, kl=figure(sum(each.kl))))}</span>" if each.kl else ""
    if asked.kind == HELD_OUT:
        where = t("rollouts.prompt_where", lang, line=count(each.line), step=count(each.step))
    else:
        where = t("rollouts.where", lang, number=count(each.number), step=count(each.step))
    over_time = ""
    if alone and asked.kind == HELD_OUT:
        over_time = _link("rollouts.over_time", {"prompt": each.number}, lang)
    prompt = f'<p class="roll-question">{esc(each.question)}</p>' if alone else ""
    more = (_whole_prompt(each, lang) + _reference(each, lang)) if alone else ""
    return (
        f'<article class="roll"><div class="roll-head"><b class="reward">{figure(each.reward)}</b>'
        f'<span class="roll-scores">{scores}{kl}{cut}</span><span class="where">{esc(where)}</span>{over_time}</div>'
        f'{prompt}<div class="said">{_pieces(each, asked, lang)}</div>{more}</article>'
    )


def _pieces(each: Episode, asked: Asked, lang: str) -> str:
    """The answer token by token, each shaded by its KL and with it under the pointer."""
    if not each.pieces:
        return esc(each.answer) or f'<i class="open">{esc(t("rollouts.empty_answer", lang))}</i>'
    whole = asked.whole == (each.step, each.number) or len(each.pieces) <= TOKENS
    shown = each.pieces if whole else each.pieces[:TOKENS]
    values = [*each.kl, *[None] * len(shown)]
    ends = each.ended and whole and each.pieces[-1] not in each.answer
    marks = ["raw" if BYTES.fullmatch(text) and text not in each.answer else "" for text in shown]
    marks[-1] = "end" if ends else marks[-1]
    spans = "".join(_piece(*one) for one in zip(shown, values, marks, strict=False))
    if whole:
        return spans
    ask = _link("rollouts.whole_answer", {"whole": [each.step, each.number]}, lang)
    return f"{spans}… {ask}"


def _piece(text: str, kl: float | None, mark: str) -> str:
    """A token; `mark`: it is the answer's end (`end`), or bytes that make no character (`raw`)."""
    level = 0 if kl is None else sum(abs(kl) >= least for least in LEVELS)
    shade = f"{'up' if (kl or 0) > 0 else 'down'}{level}" if level else ""
    named = " ".join(filter(None, (shade, mark)))
    title = "" if kl is None else f' title="{kl:+.2f}"'
    about = f' class="{named}"' if named else ""
    return f"<span{about}{title}>{esc(text)}</span>"


def _whole_prompt(each: Episode, lang: str) -> str:
    return _fold("rollouts.whole_prompt", each.prompt, lang) if each.prompt != each.question else ""


def _reference(each: Episode, lang: str) -> str:
    return _fold("rollouts.reference", each.reference, lang) if each.reference else ""


def _fold(key: str, text: str, lang: str) -> str:
    return f'<details class="roll-more"><summary>{esc(t(key, lang))}</summary><p>{esc(text)}</p></details>'
