"""A run as the page shows it: one snapshot read from its files, and the HTML made from it. No gradio.

All text that a user, a model or a file wrote goes through `esc`.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.configs.files import fields_of, sections_of
from core.configs.stages import STAGES
from core.errors import Problem
from core.jobs.failures import explain
from core.jobs.waiting import held
from core.models.weights import AdapterFacts, adapter_facts
from core.notes import notes_file
from core.records import Manifest, Progress, Result, Status
from core.rundir import RUN_ID, RunDir, State, beats, lock_held, state_of
from core.runs.curves import name_of
from core.tails import last_text, tail
from webui.figures import clock, count, duration, esc, figure, size
from webui.messages import result_text
from webui.states import badge, state_class, state_text
from webui.text import has, stage_name, t
from webui.text_fields import choice_label, label, section_name
from webui.views_rows import kept_problems, problem_list, problem_rows

LOG_BYTES = 24_000
ANSWERS_SHOWN = 6


@dataclass(frozen=True)
class Snapshot:
    """Everything the page says about a run at one moment. `held`: why a queued one will not start by itself."""

    run: RunDir
    state: State
    config: dict[str, Any]
    status: Status | None
    progress: Progress | None
    result: Result | None
    manifest: Manifest | None
    held: Problem | None = None

    @property
    def stage(self) -> str:
        return self.run.stage

    @property
    def name(self) -> str:
        return str(self.config.get("run", {}).get("name") or self.run.id)

    @property
    def seconds(self) -> float | None:
        """How long this attempt has been computing, or did."""
        if self.status is None or self.status.started_at is None:
            return None
        end = None if self.state.live else self.status.ended_at or (self.result and self.result.ended_at)
        if not self.state.live and not end:
            return None
        return (end or time.time()) - self.status.started_at


def snapshot(run: RunDir) -> Snapshot:
    state = state_of(run)
    why = held(run) if state is State.QUEUED else None
    return Snapshot(run, state, run.config(), run.status(), run.progress(), run.result(), run.manifest(), why)


def stamp(run: RunDir) -> tuple[Any, ...]:
    """Changes whenever something that the panel shows has changed; costs a few `stat` calls."""
    files = (
        run.status_file, run.result_file, run.progress_file, run.metrics_file, run.samples_file, run.log_file(0),
        run.supervisor_log, run.stop_file, run.manifest_file, run.checkpoints, run.pairs_file, run.rollouts,
        run.heartbeat_file, notes_file(run),
    )  # fmt: skip
    alive = lock_held(run.lock_file) or beats(run)
    marks: list[Any] = [alive, int(time.time()) if alive else 0]  # times go on while a run lives
    for path in files:
        try:
            stat = os.stat(path)
            marks.append((stat.st_mtime_ns, stat.st_size))
        except OSError:
            marks.append(None)
    return tuple(marks)


# -- head and progress ------------------------------------------------------------------------------------------------
def head(shot: Snapshot, lang: str) -> str:
    """State, and one line of facts; the selector above it holds the name."""
    status = shot.status
    facts = [stage_name(shot.stage, lang)]
    if status is not None:
        facts.append(clock(status.submitted_at))
        facts.extend([", ".join(status.devices)] if status.devices else [])
        facts.extend([t("run.attempt", lang, n=status.attempt)] if status.attempt > 1 else [])
    dataset = shot.config.get("data", {}).get("train")
    facts.extend([str(dataset)] if dataset else [])
    return (
        f'<div class="run-head" title="{esc(shot.run.id)}">{badge(shot.state, shot.held, lang)}'
        f'<div class="facts">{"".join(f"<span>{esc(fact)}</span>" for fact in facts)}</div></div>'
    )


def progress(shot: Snapshot, lang: str, deadline: float | None = None) -> str:
    """Phase, bar, ETA, and the reason of the end. `deadline`: when a stop becomes a kill (epoch seconds)."""
    at = _position_kept(shot)
    fresh = at is not None and shot.status is not None
    share = _share(shot, at)
    phase = _phase(shot, at if fresh else None, lang)
    left = ""
    if at is not None and (fresh or not shot.state.live):
        left = _position(at, lang)
    right = ""
    if shot.state is State.STOPPING and at is not None and at.writing:
        right = t("run.stopping_writing", lang)
    elif shot.state is State.STOPPING and deadline is not None:
        right = t("run.stopping_in", lang, time=duration(deadline - time.time(), lang))
    elif shot.state.live and fresh and at is not None and at.eta_seconds is not None:
        right = t("run.eta", lang, time=duration(at.eta_seconds, lang))
    elif not shot.state.live and shot.seconds is not None:
        right = t("run.took", lang, time=duration(shot.seconds, lang))
    moving = " moving" if share is None and shot.state.live and shot.held is None else ""
    width = 0 if share is None else share * 100
    state = state_class(shot.state, shot.held)
    return (
        f'<div class="progress {state}"><div class="line"><b>{esc(phase)}</b><span>{esc(left)}</span>'
        f'<span class="end">{esc(right)}</span></div><div class="bar{moving}"><i style="width:{width:.1f}%"></i></div>'
        f"{_subline(shot, at, lang)}{notice(shot, lang)}</div>"
    )


def _position_kept(shot: Snapshot) -> Progress | None:
    """How far the run is; of one that is over how far it came, whatever it was writing at the end."""
    at = shot.progress
    if at is None or shot.state.live:
        return at
    if at.starting and shot.state is not State.SUCCEEDED:
        return None  # it had begun nothing: a full count of rows would look like work that was done
    if not at.train_total:
        return at
    return at.model_copy(update={"step": at.trained, "total": at.train_total, "unit": "step"})


def _share(shot: Snapshot, at: Progress | None) -> float | None:
    if shot.state is State.SUCCEEDED and (_early(shot) is None or at is None or not at.total):
        return 1.0
    if at is None or not at.total or (shot.state in (State.QUEUED, State.STARTING) and at.step == 0):
        return None if shot.state.live else 0.0
    return min(1.0, at.step / at.total)


def _phase(shot: Snapshot, at: Progress | None, lang: str) -> str:
    if shot.held is not None:
        return state_text(shot.state, shot.held, lang)
    if shot.state is State.QUEUED:
        return t("phase.waiting" if (shot.config.get("run") or {}).get("after") else "phase.queued", lang)
    if not shot.state.live:
        return t(f"state.{shot.state.value}", lang)
    name = at.phase if at is not None else "starting"
    return t(f"phase.{name}", lang) if has(f"phase.{name}") else name


def _position(at: Progress, lang: str) -> str:
    if at.unit == "byte":
        return f"{size(at.step)} / {size(at.total)}" if at.total else size(at.step) if at.step else ""
    if at.unit == "row":
        return f"{count(at.step)} / {count(at.total)}" if at.total else count(at.step) if at.step else ""
    if at.total:
        return t("run.step_of", lang, step=count(at.step), total=count(at.total))
    return t("run.step", lang, step=count(at.step)) if at.step else ""


def _subline(shot: Snapshot, at: Progress | None, lang: str) -> str:
    parts = []
    if shot.state.live and shot.seconds is not None:
        parts.append(t("run.since", lang, time=duration(shot.seconds, lang)))
    if at is not None and at.epoch is not None and shot.stage != "ppo":  # there it is a share of the answers
        parts.append(f"{t('figure.epoch', lang)} {at.epoch:.2f}")
    if at is not None and at.tokens:
        parts.append(t("run.tokens", lang, n=count(at.tokens)))
    if shot.state is State.QUEUED and shot.status is not None and shot.status.waiting_for:
        names = [by_name(who, shot.run.path.parent) for who in shot.status.waiting_for]
        parts.append(t("run.waiting_for", lang, holders=", ".join(names)))
    return f'<div class="sub">{"".join(f"<span>{esc(part)}</span>" for part in parts)}</div>' if parts else ""


def notice(shot: Snapshot, lang: str) -> str:
    """Why a run did not finish, or ended early, and what to do; "" for the others."""
    why = _early(shot) or explain(shot.run, shot.state)
    if why is None:
        return ""
    said, remedy = result_text(why, lang)
    tone = "calm" if shot.state in (State.STOPPED, State.SUCCEEDED) else "bad"
    problems = kept_problems(why.problems)
    rows = [problem for problem in problems if problem.line is not None]
    listed = problem_rows(rows, max(len(rows), _whole(why.params.get("count"))), lang) if rows else ""
    listed += problem_list([problem for problem in problems if problem.line is None], lang)
    return f'<div class="notice {tone}"><b>{esc(said)}</b> {esc(remedy)}{listed}</div>'


def _early(shot: Snapshot) -> Result | None:
    """What a run that succeeded says of its end before the last step."""
    return shot.result if shot.state is State.SUCCEEDED and shot.result is not None and shot.result.code else None


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0


USELESS = ("data.none_usable", "reward.no_pairs", "ppo.no_prompts")  # nothing would be left to learn from


def can_drop_rows(shot: Snapshot) -> bool:
    """Whether the run failed for rows that it could go without."""
    result, data = shot.result, shot.config.get("data")
    if shot.state is not State.FAILED or result is None or not isinstance(data, dict):
        return False
    if result.code in USELESS:
        return False
    return data.get("bad_rows") == "stop" and any(problem.get("line") is not None for problem in result.problems)


# -- answers, log, settings, result -----------------------------------------------------------------------------------
def samples(run: RunDir, lang: str) -> str:
    """Each fixed prompt with its answers, the newest first."""
    rows = tail(run.samples_file, keep_rows=True).rows
    by_prompt: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_prompt.setdefault(str(row.get("prompt", "")), []).append(row)
    if not by_prompt:
        return empty(t("run.no_samples", lang))
    blocks = []
    for prompt, answers in by_prompt.items():
        said = "".join(
            f'<div class="answer"><span class="at">{esc(t("run.prompt_at", lang, step=count(row.get("step"))))}</span>'
            f'<div class="said">{esc(row.get("answer", ""))}</div></div>'
            for row in reversed(answers[-ANSWERS_SHOWN:])
        )
        blocks.append(f'<section class="sample"><h4>{esc(prompt)}</h4>{said}</section>')
    return f'<div class="samples">{"".join(blocks)}</div>'


def log(run: RunDir, lang: str) -> str:
    """The tail of the ranks' logs, and of the supervisor's where no rank has written."""
    paths = sorted(run.log_dir.glob("rank-*.log"), key=lambda path: (len(path.name), path.name))
    if not any(path.stat().st_size for path in paths if path.exists()):
        paths = [run.supervisor_log]
    parts = []
    for path in paths:
        text, cut = last_text(path, LOG_BYTES // len(paths))
        if not text:
            continue
        name = f'<div class="log-name">{esc(path.name)}</div>' if len(paths) > 1 else ""
        note = t("run.log_cut", lang, size=size(LOG_BYTES // len(paths)), path=str(path)) if cut else ""
        parts.append(f'{name}<div class="log-note">{esc(note)}</div><pre class="log">{esc(text)}</pre>')
    return "".join(parts) or empty(t("run.no_log", lang))


def settings(shot: Snapshot, lang: str) -> str:
    """The run's own config, section by section; what differs from the defaults is marked."""
    stage = STAGES.get(shot.stage)
    known = fields_of(stage.config) if stage else {}
    order = list(sections_of(stage.config)) if stage else []
    blocks = []
    for section in sorted(shot.config, key=lambda name: order.index(name) if name in order else len(order)):
        values = shot.config[section]
        if not isinstance(values, dict):
            continue
        rows = []
        for name, value in values.items():
            key = f"{section}.{name}"
            field = known.get(key)
            said = by_name(shown(key, value, lang), shot.run.path.parent, with_id=True)
            same = field is not None and not field.is_required() and value == field.get_default()
            rows.append(
                f'<div class="pair{"" if same else " changed"}" title="{esc(key)}">'
                f"<dt>{esc(label(shot.stage, key, lang))}</dt><dd>{esc(said)}</dd></div>"
            )
        blocks.append(f"<section><h4>{esc(section_name(section, lang))}</h4><dl>{''.join(rows)}</dl></section>")
    return f'<div class="config"><p class="hint">{esc(t("run.changed_only", lang))}</p>{"".join(blocks)}</div>'


def by_name(text: str, beside: Path, *, with_id: bool = False) -> str:
    """`text` with runs by name instead of by id, or by both; `beside`: the folder that holds them."""

    def put(found: re.Match[str]) -> str:
        name = name_of(RunDir(beside / found[0]))
        return f"{name} ({found[0]})" if with_id and name != found[0] else name

    return RUN_ID.sub(put, text)


def shown(key: str, value: Any, lang: str) -> str:
    """A setting's value in words: yes/no, empty, lists joined."""
    if value is None or value == "":
        return t("form.empty", lang)
    if isinstance(value, bool):
        return t("form.yes" if value else "form.no", lang)
    if isinstance(value, float):
        return figure(value) if value else "0"
    if isinstance(value, list):
        return "\n".join(map(str, value))
    return choice_label(key, str(value), lang)


def result(shot: Snapshot, lang: str) -> str:
    """What a run has made so far: its checkpoints, and from the manifest what the delivered weights are."""
    rows = []
    made = shot.manifest
    if made is not None:
        rows.append((t("run.output", lang), str(shot.run.output)))
        rows.append(
            (
                t("run.base", lang),
                f"{made.root_base.source} · {', '.join(w.sha256[:12] for w in made.root_base.weights)}",
            )
        )
        rows.extend((t("run.adapter", lang), f"{link.adapter_sha256[:12]} (×{link.scaling:g})") for link in made.chain)
        place = made.adapter_stage or made.adapter_root
        facts = adapter_facts(shot.run.output / place) if place else None
        rows.extend([(t("run.lora", lang), _lora(facts, lang))] if facts is not None else [])
        for used in made.data:
            counts = t("run.rows_used", lang, used=count(used.rows_used), dropped=count(used.rows_dropped))
            rows.append((t("run.data_used", lang), f"{used.dataset} · {counts}"))
        rows.extend((_figure_name(key, lang), _whole_or(value)) for key, value in made.final_metrics.items())
    for point in reversed(shot.run.complete_checkpoints()):
        score = [] if point.eval_loss is None else [judged_by(shot.stage, point.eval_loss, lang)]
        rows.append((t("run.step", lang, step=point.step), " · ".join([clock(point.saved_at), *score])))
    if not rows:
        return empty(t("run.no_checkpoints", lang))
    pairs = "".join(f'<div class="pair"><dt>{esc(name)}</dt><dd>{esc(value)}</dd></div>' for name, value in rows)
    return f'<div class="config wide"><section><dl>{pairs}</dl></section></div>'


def judged_by(stage: str, eval_loss: float, lang: str) -> str:
    """By what a checkpoint is judged: the held-out loss; PPO keeps its held-out reward there, with the other sign."""
    key, sign = ("eval_reward", -1) if stage == "ppo" else ("eval_loss", 1)
    return f"{_figure_name(key, lang)} {figure(sign * eval_loss)}"


def _lora(facts: AdapterFacts, lang: str) -> str:
    """Rank, alpha and what the product of the factors is multiplied by, and the layers that are changed."""
    rule = t("run.lora_stabilised" if facts.stabilised else "run.lora_plain", lang)
    said = t(
        "run.lora_facts", lang, rank=facts.rank, alpha=f"{facts.alpha:g}", scaling=f"{facts.scaling:.4g}", rule=rule
    )
    odd = [t("run.lora_odd", lang, n=facts.odd)] if facts.odd else []
    return " · ".join([said, *odd, ", ".join(facts.targets)])


def _figure_name(key: str, lang: str) -> str:
    return t(f"figure.{key}", lang) if has(f"figure.{key}") else key.replace("_", " ")


def _whole_or(value: float) -> str:
    """Steps and tokens in full, everything else short."""
    return count(int(value)) if value == int(value) else figure(value)


# -- small pieces -----------------------------------------------------------------------------------------------------
def empty(text: str) -> str:
    """An empty state: one sentence that says how to fill it."""
    return f'<div class="empty">{esc(text)}</div>'


def title(text: str, note: str = "") -> str:
    more = f"<span>{esc(note)}</span>" if note else ""
    return f'<h3 class="pane-title">{esc(text)}{more}</h3>'


def intro(text: str) -> str:
    """What a stage is for, in a few lines; the first is the one to remember."""
    first, *more = text.split("\n")
    rest = f"<ul>{''.join(f'<li>{esc(line)}</li>' for line in more)}</ul>" if more else ""
    return f'<div class="notice calm intro"><b>{esc(first)}</b>{rest}</div>'


def say(said: str, remedy: str = "", tone: str = "bad") -> str:
    """A message in place. `tone`: bad, good or calm."""
    return f'<div class="notice {tone}" role="status"><b>{esc(said)}</b> {esc(remedy)}</div>' if said else ""


def command(words: str, lang: str) -> str:
    """A command line that can be copied (page.js does it)."""
    return (
        f'<div class="command"><code>{esc(words)}</code><button type="button" data-copy="{esc(words)}" '
        f'data-done="{esc(t("run.copied", lang))}">{esc(t("run.copy", lang))}</button></div>'
    )
