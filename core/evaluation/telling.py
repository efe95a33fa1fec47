"""The report in sentences: what each model gained in the domain, what it lost in general, and what cannot be said.

A sentence is a code of `core.messages` with its parameters, so that the page says it in the reader's language
(`core.records_report.said` puts the parts together).
"""

from __future__ import annotations

from collections.abc import Sequence

from core.records_report import SECOND, Block, Figure, Line, TaxReport, Told, shown, signed

FEW = 30  # rows; with fewer, resampling them says little about others
SIDES = ("domain", "general")


def sentences(report: TaxReport) -> list[Told]:
    """One for every model but the base, in the order of the table."""
    if not report.blocks:
        return []
    base, *others = report.lines
    return [about(report, line, base) for line in others]


def about(report: TaxReport, line: Line, base: Line) -> Told:
    """What was gained in the first and lost in the second; plainly so where neither can be told."""
    params = {"model": line.name, "base": base.name}
    sides = {side: [place for place, block in enumerate(report.blocks) if block.role == side] for side in SIDES}
    if not any(sides.values()):
        return Told(code="report.no_roles", params=params)
    told: dict[str, list[Told]] = {side: on_side(report.blocks, line, base, places) for side, places in sides.items()}
    return Told(code="report.told", params={**params, **told})


def on_side(blocks: Sequence[Block], line: Line, base: Line, places: Sequence[int]) -> list[Told]:
    """Of the sets that stand for one side: gains and losses with their intervals, or that there are none to be told."""
    if not places:
        return [Told(code="report.not_named")]
    found: dict[str, list[Told]] = {"better": [], "worse": [], "changed": []}
    compared = sure = False
    for place in places:
        for measure, figure in line.figures[place].items():
            compared, sure = compared or figure.change is not None, sure or figure.change_low is not None
            if figure.verdict in found and measure not in SECOND:
                under = base.figures[place].get(measure)
                found[figure.verdict].append(change(blocks[place].label, measure, figure, under))
    if not sure:
        return [Told(code="report.too_few" if compared else "report.not_measured")]
    said = [
        Told(code=code, params={"changes": found[verdict]})
        for verdict, code in (("better", "report.gained"), ("worse", "report.lost"))
        if found[verdict]
    ] or [Told(code="report.open")]
    return [*said, *found["changed"]]


def change(label: str, measure: str, figure: Figure, base: Figure | None) -> Told:
    """`accuracy on exam, 35.9 % → 51.3 % (+15.4 points, +9.0 to +21.8)`."""
    params = {
        "set": label,
        "before": shown(measure, base.value if base is not None else None),
        "after": shown(measure, figure.value),
        "change": signed(measure, figure.change),
        "low": signed(measure, figure.change_low),
        "high": signed(measure, figure.change_high),
    }
    if measure == "tokens":
        return Told(code="report.longer" if (figure.change or 0) > 0 else "report.shorter", params=params)
    return Told(code=f"report.change_{measure}", params=params)


# -- what to mind -----------------------------------------------------------------------------------------------------
def notes_on(report: TaxReport, differing: Sequence[str], same_tokens: bool, unread: tuple[int, int]) -> list[Told]:
    """unread: how many comparisons a judge was asked for, and how many of its replies allowed no verdict."""
    found = []
    few = [
        f"{block.label} ({rows})"
        for place, block in enumerate(report.blocks)
        if 0 < (rows := fewest(report.lines, place)) < FEW
    ]
    if few:
        found.append(Told(code="report.few_rows", params={"sets": ", ".join(few), "few": FEW}))
    for block in report.blocks:
        if block.learnt_by:
            found.append(Told(code="report.learnt", params={"set": block.label, "models": ", ".join(block.learnt_by)}))
    if unread[1]:
        found.append(Told(code="report.unread", params={"unread": unread[1], "pairs": unread[0]}))
    if not same_tokens:
        found.append(Told(code="report.tokenizers_differ"))
    if differing:
        found.append(Told(code="report.settings_differ", params={"settings": ", ".join(differing)}))
    if any("safe" in block.measures for block in report.blocks):
        found.append(Told(code="report.smoke_test"))
    everything = [figure for line in report.lines for figures in line.figures for figure in figures.values()]
    if any(figure.change is not None for figure in everything):
        found.append(Told(code="report.many"))
    return found


def fewest(lines: Sequence[Line], place: int) -> int:
    """The fewest rows behind any figure of a set; 0 where there is none."""
    return min((figure.rows for line in lines for figure in line.figures[place].values()), default=0)
