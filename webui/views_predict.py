"""What the page shows of a prediction: how it went, and its last lines, as they are. No gradio.

The file may hold millions of lines: only its end is read, and while the run lives the end of the window at work.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import orjson
from pydantic import ValidationError

from core.records_predict import Batch, Prediction, Summary, predictions_file, summary_file, windows_folder
from core.rundir import RunDir, read_record
from webui.figures import count, esc, figure
from webui.messages import code_text, join
from webui.text import t
from webui.views import Snapshot

SHOWN = 20
TAIL_BYTES = 1 << 20


def answers(shot: Snapshot, lang: str) -> str:
    """The last answers of a run, above them what came of it."""
    run = shot.run
    summary = read_record(summary_file(run.output), Summary)
    rows = last_lines(predictions_file(run.output)) or last_answers(run)
    if not rows:
        return f'<div class="chart-empty">{esc(t("predict.not_yet", lang))}</div>'
    if summary is None:
        told = t("predict.last", lang, n=count(len(rows)))
    else:
        told = t("predict.end", lang, n=count(len(rows)), count=count(summary.lines))
    return f'{_summary(summary, lang)}<p class="quiet">{esc(told)}</p>{table(rows, lang)}'


def table(rows: Sequence[Prediction], lang: str) -> str:
    heads = [("line", "data.line"), ("asked", "predict.asked"), ("said", "predict.answer")]
    head = "".join(f'<th class="{name}">{esc(t(key, lang))}</th>' for name, key in heads)
    body = "".join(_row(row, lang) for row in rows)
    drawn = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="scroll predictions"><table class="table">{drawn}</table></div>'


def _row(row: Prediction, lang: str) -> str:
    asked = row.input if isinstance(row.input, str) else "\n".join(_turn(turn) for turn in row.input or ())
    if row.error is not None:
        said = f'<div class="open">{esc(join(*code_text(row.error.code, row.error.params, lang)))}</div>'
    else:
        cut = f' <span class="cut">{esc(t("predict.cut", lang))}</span>' if row.finish == "length" else ""
        said = f"<div>{esc(row.output or '')}{cut}</div>"
    return f'<tr><td class="line">{count(row.line)}</td><td><div>{esc(asked)}</div></td><td>{said}</td></tr>'


def _turn(turn: dict[str, str]) -> str:
    return f"{turn.get('role', '')}: {turn.get('content', '')}"


def _summary(summary: Summary | None, lang: str) -> str:
    """How many were answered, how fast, and by which weights."""
    if summary is None:
        return ""
    said = t(
        "predict.summary", lang, answered=count(summary.answered), lines=count(summary.lines),
        cut=count(summary.cut_off), failed=count(summary.lines - summary.answered),
    )  # fmt: skip
    by = " + ".join([summary.base, *summary.adapters])
    facts = [t("predict.by", lang, base=by, sha256=summary.weights[:12])]
    if summary.seconds:
        facts.append(t("predict.pace", lang, pace=figure(summary.lines / summary.seconds)))
    facts += [t("predict.copy", lang, path=summary.copy_at)] if summary.copy_at else []
    tone = "good" if summary.answered == summary.lines else "calm"
    return f'<div class="notice {tone}" role="status"><b>{esc(said)}</b> {esc(" · ".join(facts))}</div>'


# -- reading ----------------------------------------------------------------------------------------------------------
def last_lines(path: Path) -> list[Prediction]:
    """The last lines of a file of predictions; [] where there is none."""
    found = []
    for line in _tail(path)[-SHOWN:]:
        try:
            found.append(Prediction.model_validate(orjson.loads(line)))
        except (orjson.JSONDecodeError, ValidationError):
            continue
    return found


def last_answers(run: RunDir) -> list[Prediction]:
    """What a run has answered last, by line, while there is no file of all yet."""
    try:
        windows = sorted(windows_folder(run.path).glob("window-*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    except OSError:  # it has just become one file
        return []
    found: list[Prediction] = []
    for path in reversed(windows[-2:]):
        for line in reversed(_tail(path)):
            try:
                found += [row for _, row in Batch.model_validate_json(line).rows]
            except ValidationError:
                continue
            if len(found) >= SHOWN:
                return sorted(found, key=lambda row: row.line)[-SHOWN:]
    return sorted(found, key=lambda row: row.line)


def _tail(path: Path) -> list[bytes]:
    """The whole lines among the last bytes of a file."""
    try:
        with open(path, "rb") as file:
            end = os.fstat(file.fileno()).st_size
            file.seek(max(0, end - TAIL_BYTES))
            data = file.read()
    except OSError:
        return []
    lines = data[: data.rfind(b"\n") + 1].splitlines()
    return lines[1:] if end > TAIL_BYTES else lines
