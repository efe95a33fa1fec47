"""What a reward run says of its held-out pairs, as HTML: whether PPO may learn from it, histograms, calibration, the
pairs that it gets most wrong. Read from the run's `pairs.json` alone. No gradio.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.records_reward import CalibrationBin, PairReport, WorstPair
from core.rundir import read_record
from core.runs.scales import ticks
from webui.figures import count, esc, figure
from webui.messages import code_text
from webui.text import t
from webui.views import Snapshot, empty

WIDTH, HEIGHT = 420, 150  # of the histograms, in units of the drawing
LEFT, RIGHT, TOP, BOTTOM = 30, 8, 8, 20
SQUARE = 170  # of the calibration plot
ROLES = {"chosen": "pairs.chosen", "rejected": "pairs.rejected"}


def pairs(shot: Snapshot, lang: str) -> str:
    """The inner tab "Pairs" of a reward run."""
    report = read_record(shot.run.pairs_file, PairReport)
    if report is None or not report.pairs:
        return empty(t("pairs.none", lang))
    drawings = histograms(report, lang) + calibration(report.calibration, lang)
    return (
        f'<div class="pair-report">{gate(report, lang)}{facts(report, lang)}'
        f'<div class="pair-drawings">{drawings}</div>{worst(report.worst, lang)}</div>'
    )


# -- the gate and the figures -----------------------------------------------------------------------------------------
def gate(report: PairReport, lang: str) -> str:
    """In words: fit for PPO, or not and every reason why."""
    if report.gate.fit:
        said = t("pairs.fit", lang, n=count(report.pairs))
        return f'<div class="notice good" role="status"><b>{esc(said)}</b></div>'
    items = []
    for reason in report.gate.reasons:
        what, remedy = code_text(reason.code, reason.params, lang)
        items.append(f"<li>{esc(what)} {esc(remedy)}</li>")
    said = t("pairs.not_fit", lang)
    listed = f'<ul class="problem-list">{"".join(items)}</ul>'
    return f'<div class="notice bad" role="status"><b>{esc(said)}</b>{listed}</div>'


def facts(report: PairReport, lang: str) -> str:
    """The figures, each with what it means under the pointer."""
    shown = [
        ("pairs.accuracy", _share(report.accuracy), "pairs.accuracy_help"),
        ("pairs.margin", figure(report.margin), "pairs.margin_help"),
        ("pairs.ties", f"{count(report.ties)} / {count(report.pairs)}", "pairs.ties_help"),
        ("pairs.length", figure(report.length_correlation), "pairs.length_help"),
        ("pairs.shorter", f"{_share(report.shorter_accuracy)} ({count(report.shorter)})", "pairs.shorter_help"),
        ("pairs.calibration_error", figure(report.calibration_error), "pairs.calibration_help"),
    ]
    cells = "".join(
        f'<div class="figure" title="{esc(t(meaning, lang))}"><span>{esc(t(key, lang))}</span><b>{esc(value)}</b></div>'
        for key, value, meaning in shown
    )
    return f'<div class="pair-facts">{cells}</div>'


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


# -- drawings ---------------------------------------------------------------------------------------------------------
def histograms(report: PairReport, lang: str) -> str:
    """The scores of chosen and rejected answers on one axis; what lies apart can be told apart."""
    edges = report.edges
    if len(edges) < 2 or not (report.chosen and report.rejected):
        return ""
    low, high, most = edges[0], edges[-1], max(*report.chosen, *report.rejected, 1)
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def px(x: float) -> float:
        return LEFT + (x - low) / ((high - low) or 1.0) * (right - LEFT)

    parts = []
    for role, bars in (("rejected", report.rejected), ("chosen", report.chosen)):
        for start, end, n in zip(edges, edges[1:], bars, strict=False):
            if n:
                top = bottom - n / most * (bottom - TOP)
                hint = esc(f"{figure(start)} … {figure(end)}: {count(n)}")
                parts.append(
                    f'<rect class="bin {role}" x="{px(start):.1f}" y="{top:.1f}" height="{bottom - top:.1f}" '
                    f'width="{max(0.5, px(end) - px(start) - 1):.1f}"><title>{hint}</title></rect>'
                )
    parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    parts += [f'<text class="tick x" x="{px(x):.1f}" y="{HEIGHT - 5}">{figure(x)}</text>' for x in ticks(low, high, 6)]
    parts.append(f'<text class="tick y" x="{LEFT - 5}" y="{TOP + 8}">{count(most)}</text>')
    legend = "".join(f'<span class="key {role}">{esc(t(key, lang))}</span>' for role, key in ROLES.items())
    return (
        f'<figure><figcaption>{esc(t("pairs.scores", lang))}<span class="legend">{legend}</span></figcaption>'
        f'<svg class="chart histogram" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(parts)}</svg></figure>'
    )


def calibration(bins: Sequence[CalibrationBin], lang: str) -> str:
    """How sure the model was against how often it was right; on the diagonal it is as sure as it should be."""
    bins = [each for each in bins if each.n]
    if not bins:
        return ""
    most = max(each.n for each in bins)
    low = min(0.5, *(min(each.predicted, each.observed) for each in bins))
    right, bottom = SQUARE - RIGHT, SQUARE - BOTTOM

    def px(x: float) -> float:
        return LEFT + (x - low) / (1 - low) * (right - LEFT)

    def py(y: float) -> float:
        return bottom - (y - low) / (1 - low) * (bottom - TOP)

    parts = [f'<line class="diagonal" x1="{px(low):.1f}" y1="{py(low):.1f}" x2="{px(1):.1f}" y2="{py(1):.1f}"/>']
    for value in ticks(low, 1.0, 3):
        said = f"{100 * value:.0f} %"
        parts.append(f'<text class="tick x" x="{px(value):.1f}" y="{SQUARE - 5}">{said}</text>')
        parts.append(f'<text class="tick y" x="{LEFT - 4}" y="{py(value) + 3.5:.1f}">{said}</text>')
    for each in bins:
        hint = esc(t("pairs.bin", lang, predicted=_share(each.predicted), observed=_share(each.observed), n=each.n))
        radius = 2 + 5 * (each.n / most) ** 0.5
        at = f'cx="{px(each.predicted):.1f}" cy="{py(each.observed):.1f}"'
        parts.append(f'<circle class="bubble" {at} r="{radius:.1f}"><title>{hint}</title></circle>')
    return (
        f"<figure><figcaption>{esc(t('pairs.calibration', lang))}</figcaption>"
        f'<svg class="chart square" viewBox="0 0 {SQUARE} {SQUARE}" role="img">{"".join(parts)}</svg></figure>'
    )


# -- the worst pairs --------------------------------------------------------------------------------------------------
def worst(found: Sequence[WorstPair], lang: str) -> str:
    """The mis-ordered pairs, the worst first, each opened by a click."""
    if not found:
        return f'<p class="quiet">{esc(t("pairs.no_worst", lang))}</p>'
    items = "".join(_worst(each, lang) for each in found)
    heading = t("pairs.worst" if len(found) > 1 else "pairs.worst_one", lang, n=len(found))
    return f'<h4>{esc(heading)}</h4><div class="worst-pairs">{items}</div>'


def _worst(each: WorstPair, lang: str) -> str:
    where = t("pairs.where", lang, dataset=each.dataset, line=count(each.line))
    sides = "".join(
        f'<div class="side-{role}"><span>{esc(t(ROLES[role], lang))} <b>{figure(score)}</b></span>'
        f"<p>{esc(text)}</p></div>"
        for role, text, score in (
            ("chosen", each.chosen, each.chosen_score),
            ("rejected", each.rejected, each.rejected_score),
        )
    )
    return (
        f'<details class="worst"><summary><b>{figure(each.chosen_score - each.rejected_score)}</b>'
        f'<span class="asked-line">{esc(each.prompt)}</span><span class="where">{esc(where)}</span></summary>'
        f'<p class="asked">{esc(each.prompt)}</p><div class="sides">{sides}</div></details>'
    )
