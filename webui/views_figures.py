"""Figures of a dataset: histograms as small SVG drawings of our own, shares as bars, counts in words. No gradio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.runs.scales import ticks
from webui.figures import count, esc
from webui.text import t

WIDTH, HEIGHT = 340, 130
LEFT, RIGHT, TOP, BOTTOM = 40, 6, 8, 20


def figures(found: Mapping[str, Any], lang: str) -> str:
    """What `core.data.look.statistics.row_figures` found."""
    rows = int(found["rows"])
    heads = _big(count(rows), t("look.fig_rows", lang)) + _big(
        count(found["duplicates"]), t("look.fig_duplicates", lang)
    )
    cells = [
        _histogram(t("look.fig_chars", lang), found["chars"], lang),
        _histogram(t("look.fig_answer_chars", lang), found["answer_chars"], lang),
    ]
    cells.append(_shares(t("look.fig_turns", lang), found["turns"], rows))
    languages = {t(f"language.{name}", lang): number for name, number in found["languages"].items()}
    cells.append(_shares(t("look.fig_languages", lang), languages, rows))
    if len(found["sources"]) > 1:
        cells.append(_shares(t("look.fig_sources", lang), found["sources"], rows))
    return f'<div class="fig-heads">{heads}</div><div class="fig-grid">{"".join(cells)}</div>'


def token_figures(found: Mapping[str, Any], total: int, lang: str) -> str:
    """What `core.data.look.statistics.token_figures` found; a sample is called one."""
    rows, limit = int(found["rows"]), found["max_length"]
    of = "look.sampled" if found["sampled"] else "look.all_counted"
    heads = []
    if found["label_share"] is not None:
        heads.append(_big(f"{found['label_share']:.1%}", t("look.fig_labels", lang)))
    share = max(1, rows)
    heads.append(_big(f"{found['truncated'] / share:.1%}", t("look.fig_truncated", lang, n=count(limit))))
    heads.append(_big(f"{found['empty'] / share:.1%}", t("look.fig_empty", lang)))
    if found["refused"]:
        heads.append(_big(f"{found['refused'] / share:.1%}", t("look.fig_refused", lang)))
    whole = "look.fig_estimate" if found["sampled"] else "look.fig_total"
    heads.append(_big(count(found["estimated_tokens"]), t(whole, lang)))
    drawing = _histogram(t("look.fig_tokens", lang), found["tokens"], lang, limit)
    note = f'<p class="hint">{esc(t(of, lang, n=count(rows), rows=count(total)))}</p>'
    return f'<div class="fig-heads">{"".join(heads)}</div>{note}<div class="fig-grid">{drawing}</div>'


def _big(number: str, said: str) -> str:
    return f'<div class="fig-head"><b>{esc(number)}</b><span>{esc(said)}</span></div>'


def _histogram(title: str, found: Mapping[str, Any], lang: str, limit: int | None = None) -> str:
    edges, counts = found["edges"], found["counts"]
    if not counts:
        return ""
    spread = {name: count(round(found[name])) for name in ("p50", "p90", "p99", "max")}
    said = t("look.fig_spread", lang, **spread)
    said += f" · {t('look.fig_over', lang, n=count(found['over']))}" if found["over"] else ""
    drawing = bar_chart(edges, counts, lang, limit)
    return f'<section class="fig"><h5>{esc(title)}</h5>{drawing}<p class="hint">{esc(said)}</p></section>'


def bar_chart(edges: list[int], counts: list[int], lang: str, limit: int | None = None) -> str:
    """An SVG of bars with axes; `limit` is marked where it falls within them."""
    low, high, top = edges[0], edges[-1], max(counts) or 1
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def px(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (right - LEFT)

    def py(value: float) -> float:
        return bottom - value / top * (bottom - TOP)

    parts = []
    for value in ticks(0, top, 3):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{py(value):.1f}" y2="{py(value):.1f}"/>')
        parts.append(f'<text class="tick y" x="{LEFT - 6}" y="{py(value) + 3.5:.1f}">{_short(value)}</text>')
    for value in ticks(low, high, 5):
        parts.append(f'<text class="tick x" x="{px(value):.1f}" y="{HEIGHT - 5}">{_short(value)}</text>')
    for number, each in enumerate(counts):
        start, end = px(edges[number]), px(edges[number + 1])
        said = t("look.fig_bar", lang, low=count(edges[number]), high=count(edges[number + 1] - 1), n=count(each))
        past = " past" if limit is not None and edges[number] >= limit else ""
        parts.append(
            f'<rect class="bar-of{past}" x="{start + 0.5:.1f}" width="{max(0.8, end - start - 1):.1f}" '
            f'y="{py(each):.1f}" height="{bottom - py(each):.1f}"><title>{esc(said)}</title></rect>'
        )
    if limit is not None and low < limit < high:
        parts.append(f'<line class="limit" x1="{px(limit):.1f}" x2="{px(limit):.1f}" y1="{TOP}" y2="{bottom}"/>')
    return f'<svg class="bars" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(parts)}</svg>'


def _short(value: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _shares(title: str, counts: Mapping[str, int], rows: int) -> str:
    top = max([*counts.values(), 1])
    lines = "".join(
        f'<div class="share-line"><span title="{esc(name)}">{esc(name)}</span>'
        f'<div class="bar"><i style="width:{number / top * 100:.1f}%"></i></div>'
        f"<b>{count(number)}</b><small>{number / max(1, rows):.1%}</small></div>"
        for name, number in counts.items()
    )
    return f'<section class="fig"><h5>{esc(title)}</h5>{lines}</section>'
