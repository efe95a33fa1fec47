"""Running recipes: nothing is lost, nothing is half-written, the same recipe is the same dataset."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from core.__main__ import main
from core.configs.data import Recipe
from core.configs.files import resolve
from core.data.recipe import rows as stored
from core.data.recipe.mixing import taken
from core.data.recipe.prepare import prepare
from core.data.recipe.preview import preview
from core.data.store.dataset import Dataset
from core.data.store.library import delete_dataset, import_file, open_dataset
from core.errors import ConfigError, DataError, StopRequested
from core.jobs import store
from core.records import Produced
from core.rundir import State, read_record, state_of
from core.workspace import Workspace
from tests.conftest import write_jsonl

ROOT = Path(__file__).resolve().parents[1]


def sentence(rng: random.Random, words: int = 12) -> str:
    return " ".join("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 9))) for _ in range(words)) + "."


def bring(workspace: Workspace, folder: Path, rows: list[dict], name: str = "rows") -> Dataset:
    return import_file(workspace, write_jsonl(folder / f"{name}.jsonl", rows), name)


def texts(count: int, seed: int = 0) -> list[dict]:
    rng = random.Random(seed)
    return [{"text": sentence(rng)} for _ in range(count)]


def recipe(*steps: dict | str, inputs: object = "rows", **settings: object) -> Recipe:
    return Recipe.model_validate({"inputs": inputs, "steps": list(steps), "output": "made", **settings})


def all_texts(dataset: Dataset) -> list[str]:
    return [row["text"] for batch in dataset.batches() for row in batch]


def leftovers(workspace: Workspace) -> list[str]:
    return [path.name for path in workspace.datasets_dir.iterdir() if path.name.startswith(".")]


CLEANING = (
    "exact",
    {"do": "near", "threshold": 0.8},
    {"do": "length", "min_chars": 60},
    "words",
    "mask",
    {"do": "quality", "min_score": 0.3},
    {"do": "bucket", "buckets": 2, "keep": [2]},
)


@pytest.fixture
def dirty(workspace: Workspace, tmp_path: Path) -> Dataset:
    """Rows of which some are copies, near copies, short, or hold a telephone number."""
    rows = texts(60)
    rows += [dict(rows[3]), {"text": rows[5]["text"].replace("a", "a!")}, {"text": rows[7]["text"] + " x"}]
    rows += [{"text": "short."}, {"text": "Call 13812345678 for a very good and long enough answer to your question."}]
    return bring(workspace, tmp_path, rows)


def test_nothing_is_lost_and_every_drop_has_its_reason_and_row(workspace: Workspace, dirty: Dataset) -> None:
    [made] = prepare(workspace, recipe(*CLEANING))
    steps = made.card.steps
    dropped = Counter(row["step"] for row in made.dropped())
    assert steps[0].before == len(dirty)
    for number, (step, after) in enumerate(zip(steps, [*steps[1:], None], strict=True), 1):
        assert step.before == step.after + dropped[number], step
        assert after is None or after.before == step.after
    assert steps[-1].after == len(made) == made.card.rows
    kept = set(made.lines(range(len(made))))
    gone = {row["line"] for row in made.dropped()}
    assert kept | gone == set(range(1, len(dirty) + 1))
    assert not kept & gone
    by_line = dict(zip(dirty.lines(range(len(dirty))), all_texts(dirty), strict=True))
    for row in made.dropped():
        assert row["message"]
        if row["step"] < 5:  # before the step that masks
            assert json.loads(row["row"]) == {"text": by_line[row["line"]]}


def test_order_stays_and_sources_follow(workspace: Workspace, dirty: Dataset) -> None:
    [made] = prepare(workspace, recipe(*CLEANING[:4]))
    lines = made.lines(range(len(made)))
    assert lines == sorted(lines)
    assert {meta.source for meta in made.meta(range(len(made)))} == {"rows"}
    assert made.card.parents == [dirty.ref]
    assert Recipe.model_validate(made.card.recipe).inputs[0].dataset == dirty.ref
    assert leftovers(workspace) == []


def test_the_same_recipe_is_found_again_and_another_is_another(workspace: Workspace, dirty: Dataset) -> None:
    [first] = prepare(workspace, recipe(*CLEANING))
    changed = first.folder.stat().st_mtime_ns
    [again] = prepare(workspace, recipe(*CLEANING))
    assert (again.ref, again.folder.stat().st_mtime_ns) == (first.ref, changed)
    [other] = prepare(workspace, recipe("exact"))
    assert other.version != first.version
    delete_dataset(workspace, first.ref)
    [anew] = prepare(workspace, recipe(*CLEANING))
    assert (anew.ref, anew.card.sha256) == (first.ref, first.card.sha256)


def test_cleaning_what_is_clean_changes_nothing(workspace: Workspace, dirty: Dataset) -> None:
    steps = CLEANING[:-1]
    [once] = prepare(workspace, recipe(*steps))
    [twice] = prepare(workspace, recipe(*steps, inputs=once.ref, output="twice"))
    assert all_texts(twice) == all_texts(once)
    assert twice.card.dropped == 0


def test_a_new_version_of_the_input_where_no_name_is_given(workspace: Workspace, dirty: Dataset) -> None:
    [made] = prepare(workspace, recipe("exact", output=""))
    assert made.name == dirty.name
    assert open_dataset(workspace, dirty.name).ref == made.ref


# -- mixing and sources -----------------------------------------------------------------------------------------------
def test_inputs_are_mixed_by_weight(workspace: Workspace, tmp_path: Path) -> None:
    bring(workspace, tmp_path, texts(40, 1), "one")
    bring(workspace, tmp_path, texts(30, 2), "two")
    inputs = [{"dataset": "one", "weight": 0.5}, {"dataset": "two", "weight": 2}]
    [made] = prepare(workspace, recipe(inputs=inputs))
    assert made.card.sources == {"two": 60, "one": 20}
    assert sorted(Counter(all_texts(made)).values()) == [1] * 20 + [2] * 30
    [same] = prepare(workspace, recipe(inputs=inputs, output="same"))
    [other] = prepare(workspace, recipe(inputs=inputs, output="other", seed=7))
    assert all_texts(same) == all_texts(made) != all_texts(other)


def test_weights_take_whole_copies_and_a_share(workspace: Workspace) -> None:
    positions = taken(10, 2.3, np.random.default_rng(0))
    assert Counter(Counter(positions.tolist()).values()) == {2: 7, 3: 3}
    assert taken(10, 0.04, np.random.default_rng(0)).tolist() == []


def test_kinds_do_not_mix(workspace: Workspace, tmp_path: Path) -> None:
    bring(workspace, tmp_path, texts(3), "one")
    bring(workspace, tmp_path, [{"question": "?", "answer": "!"}], "two")
    with pytest.raises(ConfigError) as caught:
        prepare(workspace, recipe(inputs=["one", "two"]))
    assert [(p.code, p.key) for p in caught.value.problems] == [("step.kinds_differ", "recipe.inputs[1].dataset")]


def test_steps_touch_only_their_sources(workspace: Workspace, tmp_path: Path) -> None:
    rows = texts(20)
    bring(workspace, tmp_path, rows, "one")
    bring(workspace, tmp_path, [*rows, {"text": "ab"}], "two")
    inputs = ["one", "two"]
    steps = ({"do": "length", "min_chars": 5, "only_sources": ["one"]}, {"do": "exact", "except_sources": ["one"]})
    [made] = prepare(workspace, recipe(*steps, inputs=inputs))
    assert len(made) == 41
    [reversed_] = prepare(
        workspace, recipe({"do": "sort", "by": "chars", "only_sources": "two"}, inputs=inputs, output="sorted")
    )
    assert all_texts(reversed_)[:20] == [row["text"] for row in rows]
    assert all_texts(reversed_)[20] == "ab"


def test_a_source_that_no_row_has_is_told(workspace: Workspace, dirty: Dataset) -> None:
    with pytest.raises(ConfigError) as caught:
        prepare(workspace, recipe({"do": "exact", "only_sources": ["rws"]}))
    [problem] = caught.value.problems
    assert (problem.key, "'rows'" in problem.remedy) == ("recipe.steps[0].only_sources", True)


# -- what is wrong, and stopping --------------------------------------------------------------------------------------
def test_everything_wrong_with_a_recipe_comes_at_once(workspace: Workspace, dirty: Dataset, tmp_path: Path) -> None:
    steps = (
        {"do": "contamination", "against": "nothing"},
        "split",
        {"do": "words", "path": str(tmp_path / "none.txt")},
    )
    with pytest.raises(ConfigError) as caught:
        prepare(workspace, recipe(*steps))
    found = {(problem.code, problem.key) for problem in caught.value.problems}
    assert ("data.no_dataset", "recipe.steps[0].against") in found
    assert ("step.not_last", "recipe.steps[1]") in found
    assert ("data.no_file", "recipe.steps[2].path") in found


def test_a_recipe_that_drops_everything_says_where(workspace: Workspace, dirty: Dataset) -> None:
    with pytest.raises(DataError) as caught:
        prepare(workspace, recipe("exact", {"do": "length", "min_chars": 10_000}))
    assert caught.value.code == "step.nothing_left"
    assert "length 63 → 0" in caught.value.message
    assert leftovers(workspace) == []


@pytest.mark.parametrize("steps", [("exact", "near"), CLEANING, ("mask", "quality")])
def test_stopping_at_any_moment_leaves_nothing(workspace: Workspace, dirty: Dataset, steps: tuple) -> None:
    asked: list[int] = []

    def stop_after(limit: int) -> None:
        asked.append(1)
        if len(asked) > limit:
            raise StopRequested

    prepare(workspace, recipe(*steps, output="whole"), check_stop=lambda: stop_after(10_000))
    for moment in range(len(asked)):
        asked.clear()
        with pytest.raises(StopRequested):
            prepare(workspace, recipe(*steps), check_stop=partial(stop_after, moment))
        assert leftovers(workspace) == []
        assert not (workspace.datasets_dir / "made").exists()


def test_a_killed_recipe_leaves_nothing_that_the_next_one_does_not_remove(
    workspace: Workspace, tmp_path: Path, dirty: Dataset
) -> None:
    code = (
        "import os, signal, sys; from core.workspace import Workspace; from core.configs.data import Recipe;"
        "from core.data.recipe.prepare import prepare;"
        "tell = lambda step, name, done, total: step > 1 and done and os.kill(os.getpid(), signal.SIGKILL);"
        "prepare(Workspace(sys.argv[1]), Recipe.model_validate_json(sys.argv[2]), on_progress=tell)"
    )
    wanted = recipe("exact", "mask", "near").model_dump_json()
    ended = subprocess.run([sys.executable, "-c", code, str(workspace.path), wanted], cwd=ROOT)
    assert ended.returncode == -signal.SIGKILL
    assert len(leftovers(workspace)) == 1
    assert not (workspace.datasets_dir / "made").exists()
    prepare(workspace, recipe("exact", "mask", "near"))
    assert leftovers(workspace) == []


# -- rows on disk -----------------------------------------------------------------------------------------------------
def test_a_far_order_is_written_right(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows than a stretch, shuffled: rows are dealt into files first."""
    monkeypatch.setattr(stored, "DEALT_ROWS", 3000)
    dealt = []
    deal = stored.StoredRows._deal
    monkeypatch.setattr(stored.StoredRows, "_deal", lambda self, *args: dealt.append(1) or deal(self, *args))
    bring(workspace, tmp_path, [{"text": f"row {n}", "score": n, "category": str(n % 7)} for n in range(20_001)])
    [made] = prepare(workspace, recipe({"do": "length", "min_chars": 5}, "shuffle", {"do": "length", "min_chars": 6}))
    assert dealt
    found = all_texts(made)
    assert sorted(found) == sorted(f"row {number}" for number in range(10, 20_001))
    assert found != sorted(found)
    lines = made.lines(range(len(made)))
    assert [f"row {line - 1}" for line in lines] == found
    assert made.categories(range(len(made))) == [str((line - 1) % 7) for line in lines]


def test_rewritten_rows_and_scores_are_found_by_later_steps(workspace: Workspace, tmp_path: Path) -> None:
    rows = [{"text": f"{text['text']} Call {138_0000_0000 + number}."} for number, text in enumerate(texts(30))]
    rows += [{"text": f"{rows[4]['text'][:-12]}13911112222."}]  # the same but for the number
    bring(workspace, tmp_path, rows)
    [made] = prepare(workspace, recipe("quality", "mask", "exact", {"do": "sort", "by": "score"}))
    assert len(made) == 30
    assert all("[phone]" in text for text in all_texts(made))
    scores = [meta.score for meta in made.meta(range(30))]
    assert scores == sorted(scores)
    [gone] = made.dropped()
    assert (gone["line"], json.loads(gone["params"])) == (31, {"line": 5, "source": "rows"})


# -- preview ----------------------------------------------------------------------------------------------------------
def test_a_preview_of_all_rows_says_what_happens(workspace: Workspace, dirty: Dataset) -> None:
    told = preview(workspace, recipe(*CLEANING))
    [made] = prepare(workspace, recipe(*CLEANING))
    assert [(s.do, s.before, s.after, s.changed) for s in told] == [
        (s.do, s.before, s.after, s.changed) for s in made.card.steps
    ]
    assert not any(step.sampled for step in told)
    messages = {example.problem.message for step in told for example in step.dropped if example.problem}
    assert messages == {row["message"] for row in made.dropped()}
    [masked] = told[4].changed_rows
    assert ("13812345678" in masked.row["text"], "[phone]" in masked.after[0]["text"]) == (True, True)


def test_a_preview_of_many_rows_looks_everywhere_and_is_quick(workspace: Workspace, tmp_path: Path) -> None:
    bring(workspace, tmp_path, texts(9000))
    began = time.monotonic()
    told = preview(workspace, recipe(*CLEANING))
    assert time.monotonic() - began < 4  # two seconds on an idle machine
    assert (told[0].before, told[0].sampled) == (2000, True)
    assert not (workspace.datasets_dir / "made").exists()


# -- as a run, from the terminal --------------------------------------------------------------------------------------
def test_a_run_pins_its_inputs_and_says_what_it_made(workspace: Workspace, dirty: Dataset) -> None:
    words = ["recipe.inputs=rows", "recipe.steps=[exact]", "recipe.output=made"]
    assert main(["--workspace", str(workspace.path), "prepare", *words]) == 0
    [run] = workspace.runs()
    assert run.config()["recipe"]["inputs"] == [{"dataset": dirty.ref, "weight": 1.0}]
    assert run.config()["run"]["name"] == "prepare rows"
    made = open_dataset(workspace, "made")
    produced = read_record(run.produced_file, Produced)
    assert produced is not None
    assert produced.datasets == [made.ref]


def test_a_run_is_refused_with_every_problem(workspace: Workspace, dirty: Dataset) -> None:
    config = resolve("prepare", overrides=["recipe.inputs=rows", "recipe.steps=[{do: contamination, against: exam}]"])
    with pytest.raises(ConfigError) as caught:
        store.submit(workspace, "prepare", config)
    assert [problem.key for problem in caught.value.problems] == ["recipe.steps[0].against"]
    assert workspace.runs() == []


def test_what_a_live_run_needs_is_not_deleted_and_a_stop_leaves_nothing(workspace: Workspace, tmp_path: Path) -> None:
    dataset = bring(workspace, tmp_path, texts(30_000))
    exam = bring(workspace, tmp_path, texts(3, seed=5), "exam")
    steps = ["exact", {"do": "contamination", "against": "exam"}, "quality", "near", {"do": "near", "threshold": 0.7}]
    config = resolve("prepare", values={"recipe.inputs": "rows", "recipe.steps": steps, "recipe.output": "made"})
    run = store.submit(workspace, "prepare", config)
    for ref in (dataset.ref, exam.ref):
        with pytest.raises(DataError) as caught:
            delete_dataset(workspace, ref)
        assert caught.value.code == "data.in_use"
    store.stop(run)
    deadline = time.monotonic() + 60
    while state_of(run).live and time.monotonic() < deadline:
        time.sleep(0.05)
    assert state_of(run) in (State.STOPPED, State.SUCCEEDED)
    assert leftovers(workspace) == []
    assert (workspace.datasets_dir / "made").exists() == (state_of(run) is State.SUCCEEDED)
    delete_dataset(workspace, exam.ref)


def test_cleaning_from_the_terminal(
    workspace: Workspace, dirty: Dataset, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    place = ["--workspace", str(workspace.path), "data"]
    steps = ["--step", "exact", "--step", "length min_chars=10"]
    assert main([*place, "preview", "rows", *steps, "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(step["do"], step["before"] - step["after"]) for step in told["steps"]] == [("exact", 2), ("length", 1)]
    assert main([*place, "clean", "rows", "--preset", "medical-clean", *steps[:2], "--output", "made"]) == 0
    assert open_dataset(workspace, "made").card.steps[-1].do == "exact"
    capsys.readouterr()
    assert main([*place, "dropped", "made", "--step", "1", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["dropped"]
    assert {row["code"] for row in rows} == {"step.exact"}
    assert rows[0]["row"]["text"]
    for words in (["--step", "near treshold=1"], ["--step", "near 0.8"], []):
        assert main([*place, "clean", "rows", *words]) == 2
    assert "Did you mean 'threshold'?" in capsys.readouterr().err


def test_the_shipped_presets_run(workspace: Workspace, tmp_path: Path) -> None:
    rows = [{"question": f"{text['text']}?", "answer": text["text"].upper()} for text in texts(20)]
    rows += [{"question": "肾结石怎么办？", "answer": "本方可以彻底根治，加我微信。"}]
    rows += [{"question": "感冒吃什么药？", "answer": "多喝水，必要时服用对乙酰氨基酚 500mg，电话13812345678咨询。"}]
    bring(workspace, tmp_path, rows)
    for preset in sorted((ROOT / "presets" / "prepare").glob("*.yaml")):
        config = resolve(
            "prepare", preset=preset.stem, overrides=["recipe.inputs=rows", f"recipe.output={preset.stem}"]
        )
        [made] = prepare(workspace, config.recipe)
        said = json.dumps(made.rows(), ensure_ascii=False)
        assert ("彻底根治" in said, "500mg" in said, "13812345678" in said) == (False, True, False)


def test_json_is_the_last_line_of_a_run_that_fails(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bring(workspace, tmp_path, texts(5))
    monkeypatch.setattr("core.cli.recipe.INLINE_ROWS", 0)
    words = ["data", "clean", "rows", "--step", "length min_chars=10000", "--workspace", str(workspace.path), "--json"]
    assert main(words) == 2
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["stage"], told["state"]) == ("prepare", "failed")
