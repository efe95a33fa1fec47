"""The alignment-tax report as files: JSON for the page, CSV for spreadsheets, Markdown for people, SVG for both.

write(folder, report)       report.json, report.csv, report.md, report.svg
table(report)               the lines that a log shows
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from core.messages import sentence
from core.records_report import Figure, Line, TaxReport, between, report_file, said, shown, signed
from core.report_figure import figure_svg
from core.rundir import write_record, write_text

MARK = "\ufeff"  # without it a spreadsheet takes Chinese for something else
WORDS = {
    "accuracy": "accuracy", "accuracy_norm": "acc_norm", "perplexity": "perplexity", "bits_per_byte": "bits / byte",
    "safe": "red flags passed", "reward": "reward", "win": "win rate", "tokens": "length",
    "domain": "domain", "general": "general", "": "other", "up": "↑ better", "down": "↓ better",
}  # fmt: skip
COLUMNS = (
    "model", "run", "dataset", "stands_for", "category", "measure", "value", "low", "high", "rows", "change",
    "change_low", "change_high", "pairs", "verdict",
)  # fmt: skip
MARKS = {ord(sign): f"&#{ord(sign)};" for sign in "\\`*_[]<>|#&~"}
SIGNS = {"better": " ▲", "worse": " ▼", "changed": " ◆", "open": "", "": ""}


def write(folder: Path, report: TaxReport) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_text(report_file(folder, "csv"), MARK + as_csv(report), durable=False)
    drawn = figure_svg(report, WORDS)
    if drawn:
        write_text(report_file(folder, "svg"), drawn, durable=False)
    write_text(report_file(folder, "md"), as_markdown(report), durable=False)
    write_record(report_file(folder), report)


def words(code: str, params: dict[str, object]) -> str:
    return sentence(code, dict(params))[0]


def told(report: TaxReport) -> list[str]:
    """The sentences, in English."""
    return [said(each, words, "; ") for each in report.told]


# -- a sheet ----------------------------------------------------------------------------------------------------------
def as_csv(report: TaxReport) -> str:
    """A line for each model, set, category and measure; an empty category is the whole set."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for line in report.lines:
        for place, block in enumerate(report.blocks):
            for category, figures in {"": line.figures[place], **line.groups[place]}.items():
                for measure, figure in figures.items():
                    about = (line.name, line.run or "", block.dataset, block.role, category, measure)
                    writer.writerow([*about, *_numbers(figure)])
    return text.getvalue()


def _numbers(figure: Figure) -> list[object]:
    found = figure.model_dump()
    return ["" if found[name] is None else found[name] for name in COLUMNS[6:]]


# -- for people -------------------------------------------------------------------------------------------------------
def as_markdown(report: TaxReport) -> str:
    """The sentences, the table, the figure, what to mind, and the categories."""
    parts = ["# What was gained, and what it cost", "", *(f"- {line}" for line in told(report)), ""]
    parts += [*_table(report), ""]
    parts += ["In brackets: where the true value lies with 95 % probability, as far as the rows are drawn at random.",
              "Below: the difference to the first model on the same rows; ▲ better, ▼ worse, ◆ changed, where its "
              "interval leaves out zero. Of fewer than ten rows only accuracy and red flags have an interval, and no "
              "difference has one.", ""]  # fmt: skip
    if figure_svg(report, WORDS):
        parts += ["![Differences to the base](report.svg)", ""]
    parts += [f"- {said(each, words, '; ')}" for each in report.notes]
    if report.reward:
        parts.append(f"- Reward: mean score of the answers by `{report.reward}`.")
    if report.by:
        parts.append(f"- Win rate: by `{report.by}`, each pair shown in both orders; a tie counts half.")
    rows = "[items.csv](items.csv)" if len(report.runs) == 1 else f"the items.csv of {', '.join(report.runs)}"
    parts += [f"- Every row and answer with what each model made of it: {rows}.", ""]
    for place, block in enumerate(report.blocks):
        if block.categories:
            parts += [f"## {plain(block.label)}, by category", "", *_categories(report, place), ""]
    return "\n".join(parts)


def _table(report: TaxReport) -> list[str]:
    columns = [(place, measure) for place, block in enumerate(report.blocks) for measure in block.measures]
    heads = [f"{_head(report, place)}<br>{WORDS[measure]}" for place, measure in columns]
    lines = ["| model | " + " | ".join(heads) + " |", "|---|" + "---|" * len(columns)]
    for line in report.lines:
        cells = [cell(measure, line.figures[place].get(measure)) for place, measure in columns]
        lines.append(f"| {plain(line.name)} | " + " | ".join(cells) + " |")
    return lines


def _head(report: TaxReport, place: int) -> str:
    block = report.blocks[place]
    return plain(block.label) + (f" ({WORDS[block.role]})" if block.role else "")


def _categories(report: TaxReport, place: int) -> Iterable[str]:
    """A line for each category and measure, a column for each model."""
    block = report.blocks[place]
    yield "| category | | " + " | ".join(plain(line.name) for line in report.lines) + " |"
    yield "|---|---|" + "---|" * len(report.lines)
    for category in block.categories:
        for measure in block.measures:
            cells = [cell(measure, _group(line, place, category, measure)) for line in report.lines]
            yield f"| {plain(category)} | {WORDS[measure]} | " + " | ".join(cells) + " |"


def _group(line: Line, place: int, category: str, measure: str) -> Figure | None:
    return line.groups[place].get(category, {}).get(measure)


def cell(measure: str, figure: Figure | None) -> str:
    """`51.3 % [43.5 %, 59.0 %] n=156<br>+15.4 [+9.0, +21.8] ▲`"""
    if figure is None:
        return "–"
    about = f"{shown(measure, figure.value)} {between(measure, figure.low, figure.high)} n={figure.rows}"
    about = about.replace("  ", " ")
    if figure.change is None:
        return about
    interval = between(measure, figure.change_low, figure.change_high, change=True)
    return f"{about}<br>{signed(measure, figure.change)} {interval}".rstrip() + SIGNS[figure.verdict]


def plain(text: str) -> str:
    """A name as Markdown shows it in a table, whatever it holds."""
    return " ".join(text.split()).translate(MARKS)


def table(report: TaxReport) -> list[str]:
    """The report in lines for a log: the sentences, then a line for each figure that has a difference."""
    lines = told(report)
    for line in report.lines[1:]:
        for place, block in enumerate(report.blocks):
            for measure, figure in line.figures[place].items():
                about = cell(measure, figure).replace("<br>", "  difference ")
                lines.append(f"    {line.name}, {block.label}, {WORDS[measure]}: {about}")
    return lines
