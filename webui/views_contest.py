"""The panes of the Chat tab above their answers, the saved conversations, and the win rates. No gradio."""

from __future__ import annotations

from collections.abc import Sequence

from core.data.store.dataset import Dataset
from core.talks import LETTERS, MOST_PANES, Pane, Saved, Talk
from core.votes import Pairing, Pairs
from webui.catalog import Choice
from webui.contestants import Contestants
from webui.figures import clock, count, esc
from webui.text import t
from webui.views import say

OTHER = "\t"  # the entry of the list that asks for a folder; no contestant is called so


# -- the panes --------------------------------------------------------------------------------------------------------
def heads(talk: Talk, contestants: Contestants, lang: str) -> str:
    """What answers in each pane. While names are hidden the list stands in its own order, not in that of the answers;
    once they are shown, it has their letters and their order."""
    groups = contestants.groups(lang)
    fixed = talk.hidden
    stand = talk.panes if fixed else [*talk.shown(), *(pane for pane in talk.panes if not pane.model)]
    panes = "".join(
        _head(pane, letter, talk, contestants, groups, lang) for pane, letter in zip(stand, LETTERS, strict=False)
    )
    more = ""
    if len(talk.panes) < MOST_PANES and not fixed:
        more = f'<button type="button" class="act add" data-act="add">{esc(t("chat.add_pane", lang))}</button>'
    said = t("chat.shuffled", lang) if fixed else t("chat.revealed", lang) if talk.blind and talk.revealed else ""
    note = f'<p class="quiet">{esc(said)}</p>' if said else ""
    return f'<div class="contestants of-{len(talk.panes)}{" fixed" if fixed else ""}">{panes}{more}</div>{note}'


def _head(
    pane: Pane, letter: str, talk: Talk, contestants: Contestants, groups: list[tuple[str, list[Choice]]], lang: str
) -> str:
    weights = contestants.weights(pane.model, lang)
    chosen, which = _parts(pane.model, bool(weights))
    off = " disabled" if talk.hidden else ""
    mark = f'<b class="letter">{letter}</b>' if len(talk.panes) > 1 and not talk.hidden else ""
    drop = ""
    if len(talk.panes) > 1 and not talk.hidden:
        drop = (
            f'<button type="button" class="sign" data-act="drop" title="{esc(t("chat.drop_pane", lang))}" '
            f'aria-label="{esc(t("chat.drop_pane", lang))}">×</button>'
        )
    picker = _picker(chosen, groups, contestants, lang, off)
    second = _which(which, weights, lang, off) if len(weights) > 1 else ""
    about = f'<div class="about">{second}<span>{esc(contestants.about(pane.model, lang))}</span></div>'
    return (
        f'<div class="contestant" data-pane="{esc(pane.id)}"><div class="line">{mark}{picker}{drop}</div>{about}</div>'
    )


def _parts(model: str, is_run: bool) -> tuple[str, str]:
    if not is_run:
        return model, ""
    run, _, which = model.partition(":")
    return run, which or "output"


def _picker(chosen: str, groups: list[tuple[str, list[Choice]]], contestants: Contestants, lang: str, off: str) -> str:
    """A list in groups, and a field for a folder that is not in it."""
    known = {value for _, choices in groups for _, value in choices}
    parts = [f'<option value="">{esc(t("chat.choose_model", lang))}</option>']
    if chosen and chosen not in known:
        parts.append(_option(contestants.name(chosen, lang), chosen, chosen))
    for heading, choices in groups:
        entries = "".join(_option(label, value, chosen) for label, value in choices)
        parts.append(f'<optgroup label="{esc(heading)}">{entries}</optgroup>' if entries else "")
    other = ""
    if not contestants.only:
        parts.append(f'<option value="{OTHER}">{esc(t("chat.other_model", lang))}</option>')
        hint = esc(t("chat.other_hint", lang))
        other = f'<input class="other" data-field="model" placeholder="{hint}" aria-label="{hint}">'
    label = esc(t("chat.model", lang))
    select = (
        f'<select data-field="model" data-value="{esc(chosen)}" aria-label="{label}"{off}>{"".join(parts)}</select>'
    )
    return select + other


def _option(label: str, value: str, chosen: str) -> str:
    return f'<option value="{esc(value)}"{" selected" if value == chosen else ""}>{esc(label)}</option>'


def _which(which: str, weights: Sequence[Choice], lang: str, off: str) -> str:
    entries = "".join(_option(label, value, which) for label, value in weights)
    label = esc(t("chat.which", lang))
    start = f'<select class="which" data-field="which" data-value="{esc(which)}" aria-label="{label}"{off}>'
    return f"{start}{entries}</select>"


# -- saved conversations ----------------------------------------------------------------------------------------------
def shelf(found: Sequence[Saved], name: str, note: str, lang: str, *, keeps: bool) -> str:
    """Saving and downloading this conversation, and the saved ones. `keeps`: there is a workspace to save it in."""
    field = (
        f'<input data-name value="{esc(name)}" placeholder="{esc(t("chat.save_name", lang))}" '
        f'aria-label="{esc(t("chat.save_name", lang))}" maxlength="80">{_button("save", "chat.save", lang)}'
        if keeps
        else ""
    )
    bar = f'<div class="shelf-bar">{field}{_button("download", "chat.download", lang)}</div>'
    rows = "".join(_saved(each, lang) for each in found)
    listed = f'<ul class="saved">{rows}</ul>' if rows else ""
    nothing = f'<p class="quiet">{esc(t("chat.none_saved", lang))}</p>' if keeps and not rows else ""
    return f"{bar}{note}{listed}{nothing}"


def _saved(each: Saved, lang: str) -> str:
    facts = " · ".join([clock(each.when), t("chat.saved_turns", lang, n=each.turns), *each.models])
    name = esc(each.name)
    return (
        f'<li><button type="button" class="open" data-do="open" data-saved="{name}"><b>{name}</b>'
        f"<span>{esc(facts)}</span></button>"
        f'<button type="button" class="act" data-do="delete" data-saved="{name}" '
        f'data-sure="{esc(t("chat.delete_sure", lang))}">{esc(t("runs.delete", lang))}</button></li>'
    )


def _button(do: str, key: str, lang: str) -> str:
    return f'<button type="button" class="act" data-do="{do}">{esc(t(key, lang))}</button>'


# -- win rates --------------------------------------------------------------------------------------------------------
def wins(rates: Sequence[Pairing], made: Pairs, note: str, lang: str) -> str:
    """Who was preferred over whom, and what makes preference rows of it."""
    if not rates:
        return f'<p class="quiet">{esc(t("chat.no_votes", lang))}</p>{note}'
    heads = ("chat.win_model", "chat.win_against", "chat.win_won", "chat.win_lost", "chat.win_ties", "chat.win_bad",
             "chat.win_rate", "chat.win_sure")  # fmt: skip
    header = "".join(f"<th>{esc(t(key, lang))}</th>" for key in heads)
    rows = "".join(f"<tr>{_wins_row(each)}</tr>" for each in rates)
    table = f'<table class="table wins"><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table>'
    left = sum(made.left)
    said = t("chat.pairs", lang, n=count(len(made.rows)), left=count(left), histories=made.left.histories)
    off = "" if made.rows else " disabled"
    button = f'<button type="button" class="act" data-do="dataset"{off}>{esc(t("chat.make_dataset", lang))}</button>'
    return (
        f'<div class="wins-box">{table}</div><p class="quiet">{esc(t("chat.win_note", lang))}</p>'
        f'<div class="shelf-bar">{button}<span class="quiet">{esc(said)}</span></div>{note}'
    )


def _wins_row(each: Pairing) -> str:
    rate = "–" if each.rate is None else f"{each.rate:.0%}"
    sure = "–" if each.interval is None else "{:.0%} – {:.0%}".format(*each.interval)
    bar = ""
    if each.interval is not None and each.rate is not None:
        low, high = each.interval
        bar = (
            f'<i class="sure"><u style="left:{low * 100:.0f}%;width:{(high - low) * 100:.0f}%"></u>'
            f'<s style="left:{each.rate * 100:.0f}%"></s></i>'
        )
    cells = [esc(each.first), esc(each.second), *map(str, (each.wins, each.losses, each.ties, each.bad)), rate]
    return "".join(f"<td>{cell}</td>" for cell in cells) + f"<td>{bar}{sure}</td>"


def made_note(dataset: Dataset, lang: str) -> str:
    said = t(
        "chat.dataset_made", lang, ref=dataset.ref, rows=count(len(dataset)), dropped=count(dataset.card.dropped)
    )  # fmt: skip
    return say(said, tone="good")
