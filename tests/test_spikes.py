"""Loss spikes: found where they are, nowhere else, and marked on the chart once."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from core.rundir import RunDir, append_jsonl
from core.spikes import FEWEST, spikes
from core.tails import tail
from core.workspace import Workspace
from webui import charts


def falling(count: int = 400, noise: float = 0.1) -> np.ndarray:
    """A loss as a training has it: from 6 down to 2, noisy."""
    rng = np.random.default_rng(0)
    return 2 + 4 * np.exp(-np.arange(count) / 40) + noise * rng.standard_normal(count)


def test_a_falling_noisy_loss_has_none() -> None:
    assert spikes(falling().tolist()) == []
    assert spikes([]) == []
    assert spikes([2.0] * 300) == []


@pytest.mark.parametrize("place", [FEWEST, 47, 48, 49, 200, 399])
def test_a_spike_is_found_at_its_peak(place: int) -> None:
    losses = falling(1000)[600:]
    losses[place] += 5
    assert spikes(losses.tolist()) == [place]


def test_neighbours_are_one_and_what_is_no_number_is_skipped() -> None:
    losses = falling()
    losses[200:204] += [3, 6, 5, 2]
    losses[[100, 150]] = np.nan, np.inf
    assert spikes(losses.tolist()) == [201]


def test_a_level_that_stays_is_marked_where_it_begins() -> None:
    assert spikes([1.0] * 100 + [5.0] * 100) in ([100], [101])


def test_the_first_steps_are_not_judged() -> None:
    losses = [1.0] * 100
    losses[FEWEST - 1] = 50.0
    assert spikes(losses) == []


def test_a_list_that_grows_is_looked_at_from_where_it_was() -> None:
    losses = falling(3000)
    losses[[200, 1300, 2900]] += 5
    whole = spikes(losses.tolist())
    assert whole == [200, 1300, 2900]
    for since in (0, 150, 200, 201, 1299, 2500):
        assert spikes(losses.tolist(), since) == [index for index in whole if index >= since]


def make_run(workspace: Workspace) -> RunDir:
    return RunDir.create(workspace.runs_dir, "sft")


# -- on the chart -----------------------------------------------------------------------------------------------------
def test_a_spike_is_marked_while_the_run_goes_on_and_stays(workspace: Workspace) -> None:
    run = make_run(workspace)
    losses = falling(120)
    losses[60] += 5
    for step, loss in enumerate(losses[:80], 1):
        append_jsonl(run.metrics_file, {"step": step, "loss": loss})
    drawn = charts.main_chart(tail(run.metrics_file), "en")
    assert drawn.count('class="mark"') == 1
    assert "step 61" in drawn
    for step, loss in enumerate(losses[80:], 81):
        append_jsonl(run.metrics_file, {"step": step, "loss": loss})
    assert charts.spike_points(tail(run.metrics_file), "loss") == [(61, pytest.approx(losses[60]))]
    assert "1 loss spikes" in charts.main_chart(tail(run.metrics_file), "en")
    assert "1 处损失突增" in charts.drawn(tail(run.metrics_file), "sft", "zh")


def test_metrics_that_were_cut_are_looked_at_anew(workspace: Workspace) -> None:
    run = make_run(workspace)
    losses = falling(120)
    losses[60] += 5
    rows = [{"step": step, "loss": loss} for step, loss in enumerate(losses.tolist(), 1)]
    run.metrics_file.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    assert len(charts.spike_points(tail(run.metrics_file), "loss")) == 1
    run.metrics_file.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows[:50]))
    assert charts.spike_points(tail(run.metrics_file), "loss") == []


def test_a_stage_has_charts_of_its_own_and_each_source_a_line(workspace: Workspace) -> None:
    run = make_run(workspace)
    for step in range(1, 41):
        row = {"step": step, "loss": 1 / step, "accuracy": 0.5 + step / 100, "margin": step / 10, "mfu": 0.412}
        append_jsonl(run.metrics_file, {**row, "tokens_per_second": 500.0, "tflops": 118.0, "learning_rate": 1e-4})
    append_jsonl(run.metrics_file, {"step": 40, "eval_loss": 0.5, "eval_loss.a<b": 0.4, "eval_accuracy": 0.75})
    read = tail(run.metrics_file)
    reward, sft = charts.drawn(read, "reward", "en"), charts.drawn(read, "sft", "en")
    assert (reward.count('<svg class="chart"'), sft.count('<svg class="chart"')) == (3, 1)
    assert "75 %" in reward
    for drawn in (reward, sft):
        assert "41.2 %" in drawn
        assert "118" in drawn
        assert "a&lt;b" in drawn
        assert "a<b" not in drawn
