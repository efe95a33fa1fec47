"""Lineage as a drawing: boxes in rows, an arrow from what was used to what was made. No gradio, no files.

Each box is a link: a run's or a dataset's address, which also opens in a tab of its own.
"""

from __future__ import annotations

from collections.abc import Container
from urllib.parse import urlencode

from core.jobs.summaries import created
from core.rundir import RunDir
from core.runs.drawing import cut
from core.runs.lineage import Edge, Graph, Key, Node, layers
from webui.figures import clock, esc
from webui.states import state_class, state_text
from webui.text import has, stage_name, t
from webui.views import empty

WIDTH, HEIGHT, GAP_X, GAP_Y = 168, 44, 18, 42  # of a box, and between boxes
LETTERS = 21  # of a title that the box is wide enough for
ROUND = 36  # how far an arrow that passes a row keeps from its boxes
END = (
    '<defs><marker id="lineage-end" viewBox="0 0 6 6" refX="6" refY="3" markerWidth="6" markerHeight="6" orient="auto">'
    '<path d="M0 0l6 3l-6 3z"/></marker></defs>'
)
MOST = 60  # boxes that one drawing is good for


def drawing(graph: Graph, run: str, pages: Container[str], lang: str) -> str:
    """The family of `run`. pages: the stages that have a tab of their own."""
    if not graph.nodes:
        return empty(t("lineage.nothing", lang))
    rows, left_out = _at_most(layers(graph), ("run", run))
    widest = max(map(len, rows))
    place: dict[Key, tuple[float, float]] = {}
    for y, row in enumerate(rows):
        left = (widest - len(row)) * (WIDTH + GAP_X) / 2
        for x, node in enumerate(row):
            place[node.key] = left + x * (WIDTH + GAP_X) + 2, y * (HEIGHT + GAP_Y) + 2
    width = widest * (WIDTH + GAP_X) - GAP_X + 4 + ROUND
    height = len(rows) * (HEIGHT + GAP_Y) - GAP_Y + 4
    drawn = [edge for edge in graph.edges if edge.source in place and edge.target in place]
    lines = "".join(_arrow(edge, place, run, lang) for edge in drawn)
    boxes = "".join(_box(node, place[node.key], node.key == ("run", run), pages, lang) for row in rows for node in row)
    note = t("lineage.hint", lang)
    if left_out:
        note = t("lineage.cut", lang, n=left_out, command=f"python -m core runs lineage {run}")
    return (
        f'<p class="quiet">{esc(note)}</p><div class="scroll lineage"><svg viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img">{END}{lines}{boxes}</svg></div>'
    )


def _at_most(rows: list[list[Node]], chosen: Key) -> tuple[list[list[Node]], int]:
    """The rows with `MOST` nodes in all, the last of the longest left out first; and how many that were."""
    kept, left_out = [list(row) for row in rows], 0
    while sum(map(len, kept)) > MOST:
        longest = max(kept, key=len)
        gone = next(node for node in reversed(longest) if node.key != chosen)
        longest.remove(gone)
        left_out += 1
    return [row for row in kept if row], left_out


def _arrow(edge: Edge, place: dict[Key, tuple[float, float]], run: str, lang: str) -> str:
    key = f"lineage.as_{edge.role}"
    own = " own" if ("run", run) in (edge.source, edge.target) else ""
    said = t(key, lang) if has(key) else edge.role
    return (
        f'<path class="arrow{own}" marker-end="url(#lineage-end)" d="{_path(place, edge)}"><title>{esc(said)}</title>'
        f"</path>"
    )


def _path(place: dict[Key, tuple[float, float]], edge: Edge) -> str:
    """Down to the next row; to a later one round the right of all that stands between."""
    (x1, y1), (x2, y2) = place[edge.source], place[edge.target]
    if y2 - y1 > HEIGHT + GAP_Y:
        away = max(x for x, y in place.values() if y1 <= y <= y2) + WIDTH + ROUND
        y1, y2 = y1 + HEIGHT / 2, y2 + HEIGHT / 2
        return f"M{x1 + WIDTH:.0f} {y1:.0f}C{away:.0f} {y1:.0f} {away:.0f} {y2:.0f} {x2 + WIDTH:.0f} {y2:.0f}"
    x1, x2, y1 = x1 + WIDTH / 2, x2 + WIDTH / 2, y1 + HEIGHT
    bend = max(20.0, (y2 - y1) / 2)
    return f"M{x1:.0f} {y1:.0f}C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}"


def _box(node: Node, at: tuple[float, float], chosen: bool, pages: Container[str], lang: str) -> str:
    x, y = at
    if node.kind == "run":
        about = [stage_name(node.stage, lang), *([state_text(node.state, node.held, lang)] if node.state else [])]
    else:
        about = [t(f"lineage.{node.kind}", lang)]
    about += [t("lineage.gone", lang)] if node.gone else []
    title = node.title
    if node.gone and node.kind == "run":  # its name went with it: what it was, and when it was started
        run = RunDir(node.name)
        title, about = (
            t("lineage.gone_run", lang, stage=stage_name(run.stage, lang), when=clock(created(run))),
            about[1:],
        )
    state = f" {state_class(node.state, node.held)}" if node.state is not None else ""
    box = (
        f'<g class="node {node.kind}{state}{" chosen" if chosen else ""}{" gone" if node.gone else ""}" '
        f'transform="translate({x:.0f} {y:.0f})"><title>{esc(title)} ({esc(node.name)})</title>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="6"/><text x="11" y="18">{esc(cut(title, LETTERS))}</text>'
        f'<text class="about" x="11" y="34">{esc(" · ".join(about))}</text></g>'
    )
    link = address(node, pages)
    if not link:
        return box
    picks = f' data-run="{esc(node.name)}"' if node.kind == "run" else ' target="_blank"'
    return f'<a href="{esc(link)}"{picks}>{box}</a>'


def address(node: Node, pages: Container[str]) -> str:
    """Where the page shows the node; "" for what is gone, and for a model, which has no page of its own."""
    if node.gone or node.kind == "model":
        return ""
    if node.kind == "dataset":
        return "?" + urlencode({"tab": "data", "dataset": node.name})
    return "?" + urlencode({"tab": node.stage if node.stage in pages else "runs", "run": node.name})
