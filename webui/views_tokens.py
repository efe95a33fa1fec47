"""A row as the model sees it: tokens shaded by what is learnt, what is cut off struck out, pack borders. No gradio."""

from __future__ import annotations

from collections.abc import Sequence

from core.data.look.packs import Shared
from core.data.look.pieces import Piece
from core.data.look.tokens import Reading
from webui.figures import count, esc, figure
from webui.text import t

CUT_SHOWN = 120  # pieces at each end of what was cut off
KEPT_SHOWN = 3000  # pieces at each end of what remains


def readings(found: Sequence[Reading], stage: str, limit: int | None, lang: str) -> str:
    """The sequences of a row, side by side where there are two or more."""
    blocks = "".join(_reading(each, stage, limit, lang) for each in found)
    return f'{_key(found, stage, lang)}<div class="{"side-by-side" if len(found) > 1 else "readings"}">{blocks}</div>'


def _reading(reading: Reading, stage: str, limit: int | None, lang: str) -> str:
    title = t(f"look.name_{reading.name}", lang)
    if reading.score is not None:
        title += " · " + t("look.with_score", lang, score=figure(reading.score))
    if reading.refused:
        said = esc(t("look.refused", lang, reason=reading.refused))
        return f'<section class="reading"><h5>{esc(title)}</h5><div class="notice bad">{said}</div></section>'
    facts = "".join(f"<span>{esc(fact)}</span>" for fact in _facts(reading, stage, limit, lang))
    body = _pieces(reading, lang)
    head = f'<h5>{esc(title)}<span class="facts">{facts}</span></h5>'
    return f'<section class="reading">{head}<div class="tokens">{body}</div></section>'


def _facts(reading: Reading, stage: str, limit: int | None, lang: str) -> list[str]:
    facts = [t("look.tokens", lang, n=count(reading.tokens))]
    if stage == "reward":
        facts.append(t("look.scored" if reading.labels else "look.not_scored", lang))
    elif stage in ("sft", "pretrain", "dpo"):
        share = f"{reading.labels / reading.tokens:.0%}" if reading.tokens else "–"
        facts.append(t("look.labels", lang, n=count(reading.labels), share=share))
    else:
        facts.append(t("look.nothing_learnt", lang))
    if reading.cut:
        facts.append(t("look.cut", lang, n=count(reading.cut)))
    if stage == "ppo" and limit is not None and reading.tokens > limit:
        facts.append(t("look.prompt_long", lang, n=count(limit)))
    if reading.borders and limit is not None:
        facts.append(t("look.blocks", lang, n=count(len(reading.borders) + 1), size=count(limit)))
    return facts


def _key(found: Sequence[Reading], stage: str, lang: str) -> str:
    """What the shades mean: those that occur."""
    pieces = [piece for reading in found for piece in reading.pieces]
    shown = {
        "learnt": any(piece.labelled and not piece.cut for piece in pieces),
        "read": any(not piece.labelled and not piece.cut for piece in pieces),
        "special": any(piece.special for piece in pieces),
        "cut": any(piece.cut for piece in pieces),
        "joined": any(len(piece.ids) > 1 for piece in pieces),
        "raw": any(not piece.text for piece in pieces),
    }
    said = {"learnt": "scored"} if stage == "reward" else {}
    keys = "".join(
        f'<span><i class="tok {name}">abc</i>{esc(t(f"look.key_{said.get(name, name)}", lang))}</span>'
        for name, there in shown.items()
        if there
    )
    return f'<div class="token-key">{keys}</div>'


def _pieces(reading: Reading, lang: str) -> str:
    borders = set(reading.borders)
    parts: list[str] = []
    at, block = 0, 1
    for run in _runs(reading.pieces):
        most = CUT_SHOWN if run[0].cut else KEPT_SHOWN
        hidden = range(most, len(run) - most) if len(run) > 2 * most else range(0)
        for number, piece in enumerate(run):
            if borders & set(range(at, at + len(piece.ids))) and not piece.cut:
                block += 1
                parts.append(f'<b class="border">{esc(t("look.block_border", lang, n=block))}</b>')
            if number not in hidden:
                parts.append(_piece(piece, lang))
            elif number == hidden[0]:
                left = sum(len(one.ids) for one in run[hidden.start : hidden.stop])
                parts.append(f'<em class="left-out">{esc(t("look.more_tokens", lang, n=count(left)))}</em>')
            at += 0 if piece.cut else len(piece.ids)
    return "".join(parts)


def _runs(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Pieces that remain, and pieces that were cut off, by turns."""
    runs: list[list[Piece]] = []
    for piece in pieces:
        if not runs or runs[-1][0].cut != piece.cut:
            runs.append([])
        runs[-1].append(piece)
    return runs


def _piece(piece: Piece, lang: str) -> str:
    marks = ["tok", "cut" if piece.cut else "learnt" if piece.labelled else "read"]
    marks += ["special"] if piece.special else []
    ids = " ".join(map(str, piece.ids))
    if not piece.text:
        marks.append("raw")
        title, text = t("look.token_raw", lang, raw=piece.raw, ids=ids), esc(piece.raw)
    elif len(piece.ids) > 1:
        marks.append("joined")
        title, text = t("look.token_joined", lang, n=len(piece.ids), ids=ids), _spaced(piece.text)
    else:
        title, text = t("look.token", lang, ids=ids), _spaced(piece.text)
    return f'<span class="{" ".join(marks)}" title="{esc(title)}">{text}</span>'


def _spaced(text: str) -> str:
    """Escaped text whose line breaks and tabs can be seen."""
    return esc(text).replace("\n", '<i class="sign">↵</i>\n').replace("\t", '<i class="sign">⇥</i>\t')


# -- packs ------------------------------------------------------------------------------------------------------------
def pack(shared: Shared | None, index: int, lang: str) -> str:
    """The rows of the pack as a bar, each as wide as it has tokens."""
    if shared is None:
        return f'<div class="pack"><p class="hint">{esc(t("look.pack_out", lang))}</p></div>'
    place = {"step": count(shared.step), "steps": count(shared.steps)}
    together = len(shared.rows)
    said = t("look.pack", lang, n=together, **place) if together > 1 else t("look.pack_alone", lang, **place)
    parts = []
    for row, tokens in shared.rows:
        mine = " mine" if row == index else ""
        title = f"{t('look.row', lang, n=count(row + 1))}: {t('look.tokens', lang, n=count(tokens))}"
        parts.append(
            f'<button type="button" class="pack-row{mine}" data-row="{row}" style="flex:{tokens}" title="{esc(title)}">'
            f"{count(row + 1)}<small>{count(tokens)}</small></button>"
        )
    room = shared.capacity - sum(tokens for _, tokens in shared.rows)
    free = f'<span class="pack-row free" style="flex:{room}"></span>' if room > 0 else ""
    notes = [t("look.pack_room", lang, capacity=count(shared.capacity))]
    notes += [] if shared.known else [t("look.pack_assumed", lang)]
    return (
        f'<div class="pack"><p>{esc(said)}</p><div class="shares">{"".join(parts)}{free}</div>'
        f'<p class="hint">{esc(" ".join(notes))}</p></div>'
    )
