"""What the PPO tab shows beside its settings: the alarms and figures of a run, the reward models that may be listed,
and the rules. No gradio.
"""

from __future__ import annotations

import inspect
import math
import re
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from core.alarms import Alarm, alarms
from core.records_reward import PairReport
from core.rules import RULES, Rule
from core.tails import Tail, tail
from webui import charts
from webui.figures import count, esc, figure
from webui.messages import code_text
from webui.text import t
from webui.text_ppo import RULES_ZH
from webui.views import Snapshot

# Sends which rule or run was clicked.
PICK = """element.addEventListener('click', (e) => {
  const row = e.target.closest('[data-pick]'); if (row) trigger('pick', {name: row.dataset.pick}); });"""


# -- a run ------------------------------------------------------------------------------------------------------------
def curves(shot: Snapshot, lang: str) -> str:
    """What goes wrong, what has come of it so far, and the curves."""
    metrics = tail(shot.run.metrics_file)
    rows = tail(shot.run.metrics_file, keep_rows=True)
    return alarm_list(_alarms(rows), lang) + facts(metrics, lang) + charts.drawn(metrics, shot.stage, lang)


_heard: WeakKeyDictionary[Tail, tuple[int, list[Alarm]]] = WeakKeyDictionary()  # rows looked at, and what they tell


def _alarms(rows: Tail) -> list[Alarm]:
    known = _heard.get(rows)
    if known is None or known[0] != len(rows.rows):
        known = _heard[rows] = len(rows.rows), alarms(rows.rows)
    return known[1]


def alarm_list(found: Sequence[Alarm], lang: str) -> str:
    """What holds now in full, with the remedy; what has ended in one folded line each."""
    now = [each for each in found if each.ended is None]
    over = [each for each in found if each.ended is not None]
    said = "".join(_alarm(each, lang) for each in now)
    if over:
        items = "".join(f"<li>{esc(_when(each, lang))}: {esc(_text(each, lang)[0])}</li>" for each in over)
        summary = esc(t("alarm.over", lang, n=len(over)))
        said += f'<details class="notice calm"><summary>{summary}</summary><ul>{items}</ul></details>'
    return f'<div class="alarms">{said}</div>' if said else ""


def _alarm(each: Alarm, lang: str) -> str:
    what, remedy = _text(each, lang)
    when = f'<span class="when">{esc(_when(each, lang))}</span>'
    return f'<div class="notice bad" role="alert"><b>{esc(what)}</b> {esc(remedy)} {when}</div>'


def _text(each: Alarm, lang: str) -> tuple[str, str]:
    return code_text(each.code, dict(each.params), lang)


def _when(each: Alarm, lang: str) -> str:
    if each.ended is None:
        return t("alarm.since", lang, step=count(each.step))
    return t("alarm.was", lang, step=count(each.step), end=count(each.ended))


def facts(metrics: Tail, lang: str) -> str:
    """The held-out reward before and now, and how much has been learnt from."""
    parts = []
    held_out, errors = metrics.curve("eval_reward", 1_000_000), dict(metrics.curve("eval_reward_error", 1_000_000))
    if len(held_out) > 1:
        (first, before), (last, after) = held_out[0], held_out[-1]
        said = t("ppo.held_out", lang, before=_with_error(before, errors.get(first)),
                 after=_with_error(after, errors.get(last)), step=count(int(last)))  # fmt: skip
        parts.append(f'<span title="{esc(t("ppo.error_help", lang))}">{esc(said)}</span>')
    if "episodes" in metrics.last:
        episodes, tokens = (count(int(metrics.last.get(key, 0))) for key in ("episodes", "tokens"))
        said = t("ppo.experience", lang, episodes=episodes, tokens=tokens)
        parts.append(f'<span title="{esc(t("ppo.experience_help", lang))}">{esc(said)}</span>')
    return f'<div class="facts ppo-facts">{"".join(parts)}</div>' if parts else ""


def _with_error(value: float, error: float | None) -> str:
    """A figure with its error, which says how many digits are worth showing."""
    if not error:
        return figure(value)
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{digits}f} ± {error:.{digits}f}"


# -- what rewards there are -------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class RewardRun:
    """A reward model that may be listed: what a line calls it, what it is called, and what is known of it."""

    value: str
    name: str
    when: str = ""
    report: PairReport | None = None


def reward_runs(found: Sequence[RewardRun], listed: Collection[str], lang: str) -> str:
    """The reward models of the workspace, each with its gate's verdict; those that are `listed` can be removed."""
    if not found:
        return f'<p class="hint">{esc(t("rewards.none", lang))}</p>'
    rows = "".join(_reward_run(each, each.value in listed, lang) for each in found)
    return f'<div class="reward-runs" aria-label="{esc(t("rewards.found", lang))}">{rows}</div>'


def _reward_run(each: RewardRun, listed: bool, lang: str) -> str:
    report = each.report
    if report is None or not report.pairs:
        verdict, why = f'<span class="gate">{esc(t("rewards.unjudged", lang))}</span>', ""
    elif report.gate.fit:
        share = f"{100 * (report.accuracy or 0):.0f} %"
        said = t("rewards.accuracy", lang, share=share, n=count(report.pairs))
        verdict, why = f'<span class="gate fit">{esc(t("rewards.fit", lang))}</span>', f"<em>{esc(said)}</em>"
    else:
        verdict = f'<span class="gate unfit">{esc(t("rewards.unfit", lang))}</span>'
        reasons = (code_text(reason.code, reason.params, lang)[0] for reason in report.gate.reasons)
        why = f"<em>{esc(' '.join(reasons))}</em>"
    button = t("rewards.remove" if listed else "rewards.add", lang)
    return (
        f'<div class="reward-run{" listed" if listed else ""}"><b title="{esc(each.value)}">{esc(each.name)}</b>'
        f'<span class="when">{esc(each.when)}</span>{verdict}'
        f'<button type="button" class="to" data-pick="{esc(each.value)}">{esc(button)}</button>{why}</div>'
    )


def rule_list(lang: str) -> str:
    """Every rule: its name, its settings with their defaults, what it gives."""
    rows = "".join(_rule(each, lang) for each in RULES.values())
    summary = esc(t("rewards.rule_list", lang, n=len(RULES)))
    return f'<details class="rule-list"><summary>{summary}</summary>{rows}</details>'


def _rule(each: Rule, lang: str) -> str:
    said = RULES_ZH.get(each.name, each.help) if lang == "zh" else each.help
    settings = " ".join(f"{name}={_word(parameter)}" for name, parameter in each.parameters.items())
    code = f"<code>{esc(settings)}</code>" if settings else ""
    about = re.sub(r"`([^`]+)`", r"<code>\1</code>", esc(said))
    return (
        f'<div class="rule"><b>{esc(each.name)}</b>{code}<p>{about}</p>'
        f'<button type="button" class="to" data-pick="{esc(each.name)}">{esc(t("rewards.add", lang))}</button></div>'
    )


def rule_line(each: Rule) -> str:
    """The line with which a rule is added: all its settings as they are by default, to be changed."""
    settings = [f"{name}={_word(parameter)}" for name, parameter in each.parameters.items()]
    return " ".join([each.name, *settings, "weight=1"])


def _word(parameter: inspect.Parameter) -> str:
    """A setting's default as a line has it; one that must be given is an empty pair of quotes."""
    value = parameter.default
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '""' if not value else value if shlex.quote(value) == value else f'"{value}"'
    return str(value)
