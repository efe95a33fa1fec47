"""The recipe on the page, without a browser: drafts, forms made from declarations, staleness, what was dropped."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import get_args

import pytest

from core.configs.steps import STEPS
from core.data.recipe.prepare import prepare
from core.data.store.library import Dataset, import_file, open_dataset
from core.errors import Problem, StopRequested
from core.workspace import Workspace
from tests.conftest import write_jsonl
from webui.data_recipe import command
from webui.inline_work import Bench, InlineWork
from webui.recipe_draft import (
    Draft,
    DraftStep,
    Mixed,
    check_draft,
    default_text,
    fields_of_step,
    plain_step,
    read_draft,
    read_values,
    recipe_yaml,
    sort_problems,
    steps_from,
)  # fmt: skip
from webui.recipe_preview import Previewed, look
from webui.recipe_run import does_nothing, making, rows_of
from webui.text_steps import CHOICES, GROUPS, choice_name, group_of, step_help, step_label
from webui.views_effect import Effect, marked, row_text, share_text
from webui.views_made import PAGE_ROWS, again_draft, dropped_page, made_pane
from webui.views_recipe import Surroundings, pane
from webui.views_step import choices_of, settings_line, step_item

EVIL = "<img src=x onerror=alert(1)>"


def dialogues(count: int) -> list[dict]:
    """Different questions; every fifth answer is of two characters."""
    rows = []
    for at in range(count):
        answer = "是。" if at % 5 == 0 else f"第{at}个回答：多喝水，注意休息，体温超过三十八度五再用药。"
        rows.append({"instruction": f"第{at}个问题：发烧怎么办？", "output": answer})
    return rows


@pytest.fixture
def dataset(workspace: Workspace, tmp_path: Path) -> Dataset:
    return import_file(workspace, write_jsonl(tmp_path / "fever.jsonl", dialogues(100)))


def length(minimum: str = "10", number: int = 1) -> DraftStep:
    return DraftStep(number, "length", {"min_answer_chars": minimum})


# -- languages --------------------------------------------------------------------------------------------------------
def test_every_step_and_setting_is_named_and_explained_in_both_languages() -> None:
    for do in STEPS:
        assert group_of(do) in GROUPS
        for name in ("", *fields_of_step(do)):
            for lang in ("en", "zh"):
                assert step_label(do, lang, name)
                assert step_help(do, lang, name), (do, name)
            where = (do, name)
            assert re.search(r"[\u4e00-\u9fff]", step_label(do, "zh", name)), where
            assert re.search(r"[\u4e00-\u9fff]", step_help(do, "zh", name)), where
            assert not re.search(r"[\u4e00-\u9fff]", step_label(do, "en", name)), where


def test_every_choice_of_a_setting_is_named_and_no_other() -> None:
    known = set()
    for do in STEPS:
        for name, info in fields_of_step(do).items():
            for word in choices_of(info):
                known.add((name, word))
                assert choice_name(name, word, "zh") != word
    assert set(CHOICES) == known


# -- drafts -----------------------------------------------------------------------------------------------------------
def test_a_draft_survives_the_browser() -> None:
    draft = Draft("a@1", [length(), DraftStep(4, "exact")], [Mixed("b@2", "0.5")], output="中文 <b>", token="t")
    assert read_draft(draft.to_json(), "a@1") == draft
    assert read_draft(json.loads(draft.to_json()), "a@1") == draft
    assert read_draft(draft.to_json(), "other@1") == Draft("other@1")  # kept for another dataset


@pytest.mark.parametrize(
    "stored",
    [None, "", "{", "[]", 3, {"ref": "a@1", "steps": 5, "mixed": "x", "seed": None},
     {"ref": "a@1", "steps": [{"do": "no such step"}, 7, {"do": []}], "mixed": [{"weight": "2"}]}],
)  # fmt: skip
def test_what_is_no_draft_is_an_empty_one(stored: object) -> None:
    assert read_draft(stored, "a@1") == Draft("a@1")


def test_unknown_settings_and_equal_numbers_are_mended() -> None:
    stored = {"ref": "a@1", "steps": [
        {"id": 1, "do": "length", "values": {"min_chars": 5, "gone": "x", "max_chars": [1]}},
        {"id": 1, "do": "exact", "values": None},
    ]}  # fmt: skip
    steps = read_draft(stored, "a@1").steps
    assert [(step.id, step.do, step.values) for step in steps] == [(1, "length", {"min_chars": "5"}), (2, "exact", {})]


def test_typed_values_become_settings() -> None:
    assert read_values(DraftStep(1, "length", {"min_chars": " 5 ", "max_chars": ""})) == {"min_chars": "5"}
    listed = DraftStep(1, "exact", {"only_sources": "a，b、 c, "})
    assert read_values(listed) == {"only_sources": ["a", "b", "c"]}
    assert read_values(DraftStep(1, "language", {"keep": ""})) == {"keep": []}
    assert read_values(DraftStep(1, "contamination", {"against": " "})) == {}


def test_steps_of_a_file_become_a_draft_and_the_same_steps_again(workspace: Workspace, dataset: Dataset) -> None:
    plain = [
        {"do": "near", "threshold": 0.9},
        {"do": "length", "min_chars": 3, "except_sources": ["fever"]},
        {"do": "language", "keep": ["zh"]},
        {"do": "split", "validation": 0.2, "by_source": False},
        {"do": "of tomorrow"},
    ]
    draft = Draft(dataset.ref, steps_from(plain))
    config, told, _ = check_draft(draft, workspace)
    assert config is not None, told
    assert [plain_step(step) for step in config.recipe.steps] == plain[:-1]
    assert "threshold: 0.9" in recipe_yaml(config.recipe)
    assert "seed" not in recipe_yaml(config.recipe)
    assert f"inputs:\n  - {dataset.ref}" in recipe_yaml(config.recipe)


# -- what is wrong ----------------------------------------------------------------------------------------------------
def test_problems_stand_at_their_field(workspace: Workspace, dataset: Dataset) -> None:
    draft = Draft(dataset.ref, [DraftStep(9, "exact"), length("ten", 7)], [Mixed("nobody@1")], seed="x", output="a/b")
    config, told, error = check_draft(draft, workspace)
    assert config is None
    assert error is not None
    assert set(told.steps) == {(7, "min_answer_chars")}
    assert set(told.own) == {"seed"}
    draft.steps, draft.seed = [], "42"
    told = check_draft(draft, workspace)[1]
    assert set(told.inputs) == {1}
    draft.mixed = []
    assert set(check_draft(draft, workspace)[1].own) == {"output"}
    shown = item(length("ten", 7), sort_problems([Problem("config.missing", key="recipe.steps[0].min_chars")], draft))
    assert "has-error" not in shown


def test_gaps_are_told_of_when_somebody_tries(workspace: Workspace, dataset: Dataset) -> None:
    draft = Draft(dataset.ref, [DraftStep(1, "contamination")])
    assert check_draft(draft, workspace)[1].count == 0
    draft.steps[0].tried = True
    assert set(check_draft(draft, workspace)[1].steps) == {(1, "against")}


def test_files_outside_the_workspace_are_refused(workspace: Workspace, dataset: Dataset) -> None:
    draft = Draft(dataset.ref, [DraftStep(1, "words", {"path": "/etc/passwd"})])
    told = check_draft(draft, workspace)[1]
    assert told.steps[1, "path"].code == "path.outside"


# -- forms and rows ---------------------------------------------------------------------------------------------------
def item(step: DraftStep, told=None, effect: Effect | None = None, lang: str = "en") -> str:
    return step_item(step, 0, True, told or sort_problems([], Draft("a@1", [step])), effect, lang)


@pytest.mark.parametrize("do", list(STEPS))
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_step_has_a_form_with_all_its_settings(do: str, lang: str) -> None:
    shown = item(DraftStep(3, do), lang=lang)
    for name in fields_of_step(do):
        assert shown.count(f'data-path="steps.3.{name}"') == 1
    assert shown.count("<div") == shown.count("</div>")
    assert shown.count("<label") == shown.count("</label>")
    assert step_label(do, lang) in shown


def test_what_somebody_typed_is_shown_exactly_and_escaped() -> None:
    step = DraftStep(1, "system", {"text": EVIL})
    shown = item(step)
    assert EVIL not in shown
    assert 'data-value="&lt;img src=x onerror=alert(1)&gt;"' in shown
    assert settings_line(step, "en").endswith(EVIL)


def test_the_settings_line_names_what_was_changed() -> None:
    assert "0.9" in settings_line(DraftStep(1, "near", {"threshold": "0.9"}), "zh")
    assert step_label("length", "en", "min_chars") in settings_line(DraftStep(1, "length", {"min_chars": "7"}), "en")


def test_defaults_are_text(dataset: Dataset) -> None:
    for do in STEPS:
        for info in fields_of_step(do).values():
            assert isinstance(default_text(info), str | bool)


def test_the_pane_keeps_its_structure(workspace: Workspace, dataset: Dataset) -> None:
    """A field under a cursor stays the same element: the same number of parts, whatever is wrong."""
    about = Surroundings(dataset, [], [])

    def parts(draft: Draft) -> int:
        return pane(draft, "t", check_draft(draft, workspace)[1], about, "en").count("<div")

    assert parts(Draft(dataset.ref, [length("10")])) == parts(Draft(dataset.ref, [length("ten")]))


def test_other_kinds_cannot_be_mixed_in_and_say_why(workspace: Workspace, dataset: Dataset, tmp_path: Path) -> None:
    text = import_file(workspace, write_jsonl(tmp_path / "pages.jsonl", [{"text": f"page {n}"} for n in range(9)]))
    shown = pane(Draft(dataset.ref), "t", sort_problems([], Draft("")), Surroundings(dataset, [text], []), "en")
    option = re.search(rf'<option value="{text.ref}"( disabled)?>([^<]+)', shown)
    assert option is not None
    assert option[1]
    assert "plain text" in option[2]


# -- the preview ------------------------------------------------------------------------------------------------------
def previewed(workspace: Workspace, draft: Draft) -> Previewed:
    config = check_draft(draft, workspace)[0]
    assert config is not None
    return look(workspace, draft, config.recipe)


def stale(seen: Previewed, draft: Draft) -> dict[int, bool]:
    return {number: effect.stale for number, effect in seen.effects(draft).items()}


def test_a_preview_is_stale_from_the_first_step_that_changed(workspace: Workspace, dataset: Dataset) -> None:
    draft = Draft(dataset.ref, [DraftStep(1, "exact"), length("10", 2), DraftStep(3, "shuffle")])
    seen = previewed(workspace, draft)
    assert stale(seen, draft) == {1: False, 2: False, 3: False}
    draft.steps[1].values["min_answer_chars"] = "11"
    assert stale(seen, draft) == {1: False, 2: True, 3: True}
    draft.steps[1].values["min_answer_chars"] = "ten"
    assert stale(seen, draft) == {1: False, 2: True, 3: True}  # what stands before a wrong setting still holds
    draft.steps[1].values["min_answer_chars"] = "10"
    draft.steps.append(DraftStep(4, "shuffle"))
    assert stale(seen, draft) == {1: False, 2: False, 3: False}
    draft.steps = [draft.steps[0], draft.steps[2]]
    assert stale(seen, draft) == {1: False, 3: True}
    draft.steps = draft.steps[::-1]
    assert stale(seen, draft) == {3: True, 1: True}
    draft.weight = "2"
    assert stale(seen, draft) == {3: True, 1: True}


def test_a_step_shows_what_it_drops_and_why(workspace: Workspace, dataset: Dataset) -> None:
    draft = Draft(dataset.ref, [length("10", 2)])
    seen = previewed(workspace, draft)
    shown = item(draft.steps[0], effect=Effect(seen.found[0], stale=False))
    assert "100 → <b>80</b>" in shown
    assert "−20 %" in shown
    assert "第0个问题" in shown
    assert "the first 8 of 20" in shown
    assert "stale" in item(draft.steps[0], effect=Effect(seen.found[0], stale=True))


def test_shares_are_never_rounded_to_nothing() -> None:
    assert share_text(1000, 987) == "−1.3 %"
    assert share_text(1_000_000, 999_999) == "−0.00 %" or share_text(100_000, 99_990) == "−0.01 %"
    assert share_text(100, 200) == "+100 %"


def test_changes_are_marked() -> None:
    assert marked("call 13800138000 <now>", "call [phone] &lt;now>".replace("&lt;", "<")) == (
        "call <del>13800138000</del><ins>[phone]</ins> &lt;now&gt;"
    )
    assert marked("a" * 9000, EVIL).endswith("<ins>&lt;img src=x onerror=alert(1)&gt;</ins>")


def test_rows_of_every_kind_are_shown_as_text() -> None:
    turns = [{"role": "user", "content": "q"}]
    assert row_text({"messages": [*turns, {"role": "assistant", "content": "a"}]}, "en") == "user: q\nassistant: a"
    assert row_text({"text": "t"}, "en") == "t"
    pair = row_text({"prompt": turns, "chosen": [{"role": "assistant", "content": "y"}], "rejected": []}, "zh")
    assert "y" in pair
    ranked = row_text({"prompt": turns, "answers": [{"content": "y", "score": 2.0}]}, "en")
    assert "y" in ranked
    assert "A" in row_text({"question": "q", "choices": ["A1", "B1"], "answer": "A"}, "en")


# -- what was made ----------------------------------------------------------------------------------------------------
def make(workspace: Workspace, draft: Draft) -> list[Dataset]:
    config = check_draft(draft, workspace)[0]
    assert config is not None
    return prepare(workspace, config.recipe)


def test_the_pane_of_what_was_made(workspace: Workspace, dataset: Dataset) -> None:
    made = make(workspace, Draft(dataset.ref, [DraftStep(1, "exact"), length("10", 2)], output="short"))[0]
    page = dropped_page(made.folder, 0)
    assert (len(page.rows), page.total, page.first) == (20, 20, 0)
    assert dropped_page(made.folder, 0, 1).total == 0
    assert dropped_page(made.folder, 999, 2).first == 0
    for lang in ("en", "zh"):
        shown = made_pane(made, page, {dataset.ref, made.ref}, lang)
        assert step_label("length", lang) in shown
        assert "第0个问题" in shown
        assert f'data-ref="{dataset.ref}"' in shown
    assert "data-again" not in made_pane(made, page, {made.ref}, "en")  # the parent is gone
    assert made_pane(dataset, dropped_page(dataset.folder, 0), set(), "en") == ""


def test_the_parts_of_a_split_name_each_other(workspace: Workspace, dataset: Dataset) -> None:
    split = DraftStep(1, "split", {"validation": "5"})
    train, validation = make(workspace, Draft(dataset.ref, [split], output="parted"))
    shown = made_pane(train, dropped_page(train.folder, 0), {dataset.ref, train.ref, validation.ref}, "en")
    assert f'data-ref="{validation.ref}"' in shown
    assert f'data-ref="{train.ref}"' not in shown


def test_dropped_rows_come_in_pages(workspace: Workspace, tmp_path: Path) -> None:
    dataset = import_file(workspace, write_jsonl(tmp_path / "many.jsonl", dialogues(12_000)))
    made = make(workspace, Draft(dataset.ref, [length()]))[0]
    page = dropped_page(made.folder, 2395)  # 2400 were dropped: more than one row group
    assert page.first == 2380
    assert page.total == 2400
    assert [row["line"] for row in page.rows] == list(range(11_901, 12_000, 5))[-PAGE_ROWS:]
    assert len(dropped_page(made.folder, 1990).rows) == PAGE_ROWS  # across two row groups


def test_the_recipe_of_a_dataset_becomes_a_draft_again(workspace: Workspace, dataset: Dataset, tmp_path: Path) -> None:
    other = import_file(workspace, write_jsonl(tmp_path / "other.jsonl", dialogues(30)))
    draft = Draft(dataset.ref, [length("12")], [Mixed(other.ref, "0.5")], output="mix", seed="7")
    made = make(workspace, draft)[0]
    again = read_draft(again_draft(made), dataset.ref)
    assert (again.mixed, again.output, again.seed) == (draft.mixed, "mix", "7")
    assert make(workspace, again)[0].ref == made.ref
    assert open_dataset(workspace, made.ref).card.parents == [dataset.ref, other.ref]


# -- doing it ---------------------------------------------------------------------------------------------------------
def test_work_is_followed_stopped_and_one_at_a_time() -> None:
    def endless(tell, check_stop) -> str:
        tell(1, "exact", 5, 10)
        while True:
            check_stop()
            time.sleep(0.01)

    bench = Bench()
    work = bench.begin("me", endless)
    assert work is not None
    assert bench.begin("me", endless) is None
    other = bench.begin("you", lambda tell, check_stop: "done")
    assert other is not None
    assert list(other.follow()) == []
    assert other.result() == "done"
    assert next(work.follow()) == (1, "exact", 5, 10)
    bench.stop("me")
    with pytest.raises(StopRequested):
        work.result()
    assert bench.begin("me", lambda tell, check_stop: None) is not None


def test_what_work_raises_is_raised() -> None:
    def broken(tell, check_stop) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        InlineWork(broken).result()


def test_progress_of_a_recipe(workspace: Workspace, dataset: Dataset) -> None:
    assert "moving" in making((), 2, "en")
    shown = making((2, "length", 50, 100), 3, "en")
    assert "2/3" in shown
    assert "width:37.5%" in shown
    assert "50 / 100" in shown
    assert making((4, "write", 1, 1), 3, "zh").count("写入") == 1
    config = check_draft(Draft(dataset.ref, weight="3"), workspace)[0]
    assert config is not None
    page = type("P", (), {"workspace": workspace})()
    assert rows_of(page, config.recipe) == 300
    assert not does_nothing(config.recipe)
    assert "python -m core prepare" in command(config, "en")


def test_literals_are_found_in_lists_too() -> None:
    assert "zh" in choices_of(fields_of_step("language")["keep"])
    assert choices_of(fields_of_step("length")["min_chars"]) == ()
    assert get_args(list[int]) == (int,)
