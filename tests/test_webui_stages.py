"""The stage pages without a browser: what they start from, fit pane, pasted arguments, small runs, reward figures."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from core.data.bring.samples import SAMPLES, bring_sample, sample_files
from core.data.store.library import delete_dataset, import_file
from core.models.library import describe, write_card
from core.records import Bucket, Measured, NewToken, VocabularyReport, WorthIt
from core.records_reward import CalibrationBin, Gate, GateReason, PairReport, WorstPair
from core.rundir import RunDir, state_of, write_record, write_text
from core.workspace import Workspace
from tests.conftest import write_jsonl
from tests.models_tools import make_run
from webui import views_fit, views_reward, views_worth
from webui.app import App
from webui.arguments_box import ArgumentsBox
from webui.confine import confine
from webui.forms import LEFT_OUT
from webui.pages.stage import STAGE_TABS, StagePage
from webui.parents import BARRED
from webui.views import snapshot


@pytest.fixture
def known(workspace: Workspace, tiny_model: Path) -> Workspace:
    """A workspace with the tiny model, documents, dialogues and pairs."""
    (workspace.models_dir / "tiny").mkdir()
    card = describe(tiny_model, "tiny", "folder", str(tiny_model), weights=[], points_to=str(tiny_model))
    write_card(workspace.models_dir / "tiny", card)
    files = {
        "docs": [{"text": f"ba be bi {at}"} for at in range(8)],
        "chat": [{"instruction": f"ba {at}", "output": "be"} for at in range(8)],
        "pairs": [{"prompt": f"ba {at}", "chosen": "be", "rejected": "bi"} for at in range(8)],
    }
    for name, rows in files.items():
        import_file(workspace, write_jsonl(workspace.path / f"{name}.jsonl", rows))
    return workspace


@pytest.fixture
def app(known: Workspace) -> App:
    app = App(known, "en")
    app.build()
    return app


def page_of(app: App, stage: str) -> StagePage:
    page = app.stages[stage]
    assert isinstance(page, StagePage)
    return page


def values_of(page: StagePage, **changes: object) -> list[object]:
    form = page.form
    return list({**{key: form.show_one(key, form.default(key)) for key in form.keys}, **changes}.values())


def chosen(page: StagePage, data: str, **changes: object) -> list[object]:
    return values_of(page, **{"model.base": "tiny", "data.train": data, **changes})


# -- the pages --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("tab", STAGE_TABS, ids=lambda tab: tab.stage)
def test_every_setting_of_a_stage_has_one_widget_and_its_own_default(app: App, tab) -> None:
    page = page_of(app, tab.stage)
    assert sorted(page.form.keys) == sorted(page.form.known.keys() - LEFT_OUT)
    needed = {"rewards": {"rules": ["length"]}} if tab.stage == "ppo" else {}
    config = page.form.resolve(chosen(page, "d", **{"rewards.rules": "length"} if needed else {}), app.workspace)
    plain = page.form.config.model_validate({"model": {"base": "tiny"}, "data": {"train": "d"}, **needed})
    assert config.model_dump() == plain.model_dump()


def test_each_stage_offers_the_data_that_is_for_it(app: App) -> None:
    catalog = app.reader.read(fresh=True)
    for stage, wanted in (
        ("pretrain", {"docs", "chat"}),
        ("sft", {"chat"}),
        ("reward", {"pairs"}),
        ("ppo", {"chat", "pairs"}),
    ):
        train = page_of(app, stage).news(catalog, "en", None, None, None)[1]
        assert {ref.partition("@")[0] for _, ref in train["choices"]} == wanted
        assert train["value"] in [ref for _, ref in train["choices"]]


def test_what_a_rehearsal_brought_is_not_chosen(app: App, known: Workspace) -> None:
    def chosen_for(stage: str) -> str | None:
        return page_of(app, stage).news(app.reader.read(fresh=True), "en", None, None, None)[1].get("value")

    for stage in ("sft", "general"):  # what a rehearsal leaves is newer than the user's own
        bring_sample(known, SAMPLES / stage / "en.jsonl")
    catalog = app.reader.read(fresh=True)
    assert chosen_for("sft") == next(d.ref for d in catalog.datasets if d.name == "chat")
    assert app.data.news(catalog, "en", "")[2]["visible"], "the samples are still offered"
    for one in catalog.datasets:
        if not one.name.startswith("sample-"):
            delete_dataset(known, one.ref)
    assert chosen_for("sft") is None
    for path in sample_files():
        bring_sample(known, path)
    assert (chosen_for("sft") or "").startswith("sample-sft-")
    assert (chosen_for("pretrain") or "").startswith("sample-pretrain-")
    assert not app.data.news(app.reader.read(fresh=True), "en", "")[2]["visible"]


def test_a_dataset_goes_to_the_stage_that_it_is_for(app: App, known: Workspace) -> None:
    for name, stage in (("docs", "pretrain"), ("chat", "sft"), ("pairs", "reward")):
        tabs, *trains = app.train_on(name)
        assert tabs.selected == stage
        assert [each for each in trains if isinstance(each, str)] == [name]


def test_no_event_with_hidden_progress_tells_the_page_of_it(workspace: Workspace) -> None:
    blocks = App(workspace, "en").build()
    hidden = [event for event in blocks.fns.values() if event.show_progress == "hidden"]
    assert hidden
    assert all(event.show_progress_on == [] for event in hidden)


def test_no_two_events_of_one_trigger_wait_for_the_last(workspace: Workspace) -> None:
    blocks = App(workspace, "en").build()
    waiting = Counter(
        target
        for event in blocks.fns.values()
        if event.fn is not None and event.trigger_mode == "always_last"
        for target in event.targets
    )
    assert [target for target, count in waiting.items() if count > 1 and target[0] is not None] == []


# -- what they start from ---------------------------------------------------------------------------------------------
def test_runs_and_models_are_offered_and_impossible_ones_say_why(app: App, known: Workspace, tiny_model: Path) -> None:
    good = make_run(known, tiny_model, name="good one")
    broken = RunDir.create(known.runs_dir, "sft")
    write_text(broken.config_json, json.dumps({"run": {"name": "broken one"}}))
    catalog = app.reader.read(fresh=True)
    for stage, first in (("reward", good.id), ("pretrain", "tiny")):
        base = page_of(app, stage).news(catalog, "en", None, None, None)[0]
        assert base["value"] == first
        labels = {value: label for label, value in base["choices"]}
        assert not labels[good.id].startswith(BARRED)
        assert labels[broken.id].startswith(f"{BARRED}broken one")
        assert " — " in labels[broken.id]
        shown = page_of(app, stage).news(catalog, "zh", None, None, None)[0]["choices"]
        assert state_of(broken).value not in next(label for label, value in shown if value == broken.id)
    problem = app.page.parents.problem("sft", broken.id)
    assert problem is not None
    assert problem.key == "model.base"
    assert app.page.parents.problem("sft", good.id) is None


def test_start_refuses_an_impossible_base_beside_its_field(app: App, known: Workspace) -> None:
    broken = RunDir.create(known.runs_dir, "sft")
    write_text(broken.config_json, "{}")
    page = page_of(app, "sft")
    values = chosen(page, "chat", **{"model.base": broken.id})
    checked = page.panel.check("en", None, [], False, "", None, *values)
    started = page.panel.launch("en", False, "", None, *values)
    at = page.form.keys.index("model.base")
    for marked in (checked[3 + at], started[3 + len(page.form.folds) + at]):
        assert "has-error" in marked["elem_classes"]
    assert [run.id for run in known.runs()] == [broken.id]


def test_names_in_every_field_of_a_stage_are_confined(known: Workspace) -> None:
    outside = {"data.general": "/etc/passwd", "data.mix": "chat: 0.5\n/etc/hosts: 2", "words.list": "/etc/hosts"}
    assert {problem.key for problem in confine(outside, known)} == set(outside)
    assert confine({"data.general": "docs", "data.mix": "chat: 0.5", "words.corpus": "docs"}, known) == []


# -- fit --------------------------------------------------------------------------------------------------------------
def test_the_fit_pane_follows_the_form_and_a_rung_goes_into_it(app: App) -> None:
    page = page_of(app, "sft")
    fit = page.panel.fit
    assert fit is not None
    small = fit.look("en", *chosen(page, "chat"))
    assert "Fits" in small
    assert "a step" in small
    assert fit.look("en", *chosen(page, "chat", **{"optim.learning_rate": "abc"})) == ""
    assert fit.look("en", *values_of(page)) == ""


class Clicked:
    """What a handler is told of a click on our own HTML."""

    def __init__(self, **data: object) -> None:
        self._data = data


def test_only_settings_are_taken_from_a_click(app: App) -> None:
    page = page_of(app, "sft")
    fit = page.panel.fit
    assert fit is not None
    clicked = Clicked(changes={"schedule.batch_size": 1, "no.such": 2, "tuning.gradient_checkpointing": True})
    updates = dict(zip(page.form.keys, fit.taken(clicked), strict=True))
    assert updates["schedule.batch_size"]["value"] == "1"
    assert updates["tuning.gradient_checkpointing"]["value"] is True
    assert "value" not in updates["optim.learning_rate"]


def test_changes_are_said_by_their_labels() -> None:
    said = {"schedule.batch_size": 1, "quantization.kind": "nf4", "tuning.gradient_checkpointing": True}
    assert views_fit.changes(said, "sft", "en") == "Batch size 1, Quantisation 4 bits (NF4), Recompute activations yes"


# -- arguments --------------------------------------------------------------------------------------------------------
def test_pasted_arguments_go_into_the_form_and_the_rest_is_told(app: App) -> None:
    page = page_of(app, "sft")
    pasted = '{"learning_rate": 2e-05, "per_device_train_batch_size": 8, "no_cuda": false, "what_is_this": "<b>"}'
    note, *updates = page.arguments.taken(pasted, "en")
    held = dict(zip(page.form.keys, updates, strict=True))
    assert held["optim.learning_rate"]["value"] == "2e-5"
    assert held["schedule.batch_size"]["value"] == "8"
    assert "value" not in held["lora.rank"]
    assert "2 became settings, 1 were left out, 1 are unknown" in note
    for word in ("no_cuda", "what_is_this"):
        assert word in note
    assert ArgumentsBox.taken(page.arguments, "", "zh")[0].startswith('<div class="notice bad"')


# -- small runs -------------------------------------------------------------------------------------------------------
def test_a_small_run_is_refused_in_place(app: App, known: Workspace) -> None:
    worth, vocabulary = page_of(app, "pretrain").cards
    note = worth.card.begin("en", "", "", False)[0]
    assert "notice bad" in note
    note = worth.card.begin("en", "tiny", "/etc/passwd", False)[0]
    assert "outside the folders" in note
    form = vocabulary.form
    own = [form.show_one(key, form.default(key)) for key in form.keys]
    own[form.keys.index("words.size")] = "many"
    note = vocabulary.card.begin("en", "tiny", "docs", False, *own)[0]
    assert "many" in note
    assert known.runs() == []


def test_a_result_is_shown_for_the_model_and_corpus_it_is_of(app: App, known: Workspace, tiny_model: Path) -> None:
    worth, vocabulary = page_of(app, "pretrain").cards
    run = RunDir.create(known.runs_dir, "perplexity")
    # A run keeps the folder of a model that was registered where it lies.
    write_text(run.config_json, json.dumps({"model": {"base": str(tiny_model)}, "data": {"rows": "docs@1"}}))
    assert worth.measured_by(run, {"model.base": "tiny", "data.rows": "docs@1"})
    assert worth.measured_by(run, {"model.base": "tiny", "data.rows": "docs"})
    assert not worth.measured_by(run, {"model.base": "other", "data.rows": "docs@1"})
    assert not worth.measured_by(run, {"model.base": "tiny", "data.rows": "docs@2"})
    assert not worth.measured_by(run, {"model.base": None, "data.rows": None})
    assert vocabulary.extended_by(run, {"model.base": "tiny"})
    assert vocabulary.extended_by(run, {"model.base": run.id})


def test_the_verdict_in_words(known: Workspace) -> None:
    run = RunDir.create(known.runs_dir, "perplexity")
    run.output.mkdir()
    assert views_worth.worth(run, "en") == ""
    found = WorthIt(
        dataset="docs@1", model="tiny", rows=3, tokens=90, bytes=300, perplexity=12.5, bits_per_byte=0.8,
        buckets=[Bucket(low=0, high=0.5, rows=2, bytes=200), Bucket(low=0.5, rows=1, bytes=100)], code="worth.new",
        params={"bits": "0.8", "known": 20, "border": "0.5"},
        best=[Measured(line=7, excerpt="<b>x", bits_per_byte=0.1)],
    )  # fmt: skip
    write_record(run.verdict_file, found)
    for lang in ("en", "zh"):
        said = views_worth.worth(run, lang)
        assert "&lt;b&gt;x" in said
        assert "<b>x" not in said
        assert "67 %" in said
        assert "{" not in said


def test_what_a_vocabulary_run_added(known: Workspace) -> None:
    run = RunDir.create(known.runs_dir, "vocabulary")
    run.output.mkdir()
    report = VocabularyReport(
        kind="byte-level", tokens_before=100, tokens=112, units=10, parts=2, rows_before=100, rows=112, tied=True,
        characters=500, rate_before=1.25, rate=2.5, double=3, shown=[NewToken(text="<糖尿病>", count=9, tokens=6)],
    )  # fmt: skip
    write_record(run.vocabulary_file, report)
    said = views_worth.vocabulary(run, "en")
    assert "1.25 → 2.50 characters per token" in said
    assert "3 given twice" in said
    assert "&lt;糖尿病&gt;" in said


# -- reward figures ---------------------------------------------------------------------------------------------------
def report(**changes: object) -> PairReport:
    worst = WorstPair(
        dataset="pairs@1", line=4, prompt="q <i>", chosen="c", rejected="r", chosen_score=-1, rejected_score=0.5
    )
    held = {
        "step": 9, "pairs": 40, "ties": 1, "accuracy": 0.75, "margin": 0.5, "edges": [-1.0, 0.0, 1.0],
        "chosen": [10, 30], "rejected": [30, 10], "length_correlation": 0.2, "calibration_error": 0.1, "worst": [worst],
        "calibration": [CalibrationBin(predicted=0.6, observed=0.55, n=40)], "gate": Gate(fit=True),
    }  # fmt: skip
    return PairReport.model_validate({**held, **changes})


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_pairs_of_a_reward_run(workspace: Workspace, lang: str) -> None:
    run = RunDir.create(workspace.runs_dir, "reward")
    write_text(run.config_json, "{}")
    assert "empty" in views_reward.pairs(snapshot(run), lang)
    write_record(run.pairs_file, report())
    said = views_reward.pairs(snapshot(run), lang)
    assert said.count("<rect") == 4
    assert "notice good" in said
    assert "75.0 %" in said
    assert "q &lt;i&gt;" in said
    assert "-1.5" in said  # how far the worst pair is in the wrong order


def test_the_gate_gives_every_reason(workspace: Workspace) -> None:
    reasons = [GateReason(code="reward.one", params={}), GateReason(code="reward.two", params={})]
    said = views_reward.gate(report(gate=Gate(fit=False, reasons=reasons)), "en")
    assert "Not fit for PPO" in said
    assert said.count("<li>") == 2


def test_a_report_without_figures_is_drawn_all_the_same(workspace: Workspace) -> None:
    bare = PairReport(step=1, pairs=2)
    assert views_reward.histograms(bare, "en") == ""
    assert views_reward.calibration(bare.calibration, "en") == ""
    assert "–" in views_reward.facts(bare, "en")
