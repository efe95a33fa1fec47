"""Shaping steps: a split loses and doubles no row, the same seed chooses the same, a conversion keeps every text."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from core.configs.data import Recipe
from core.configs.shape_steps import SHAPING
from core.data.figures import texts_of
from core.data.normal import row_text
from core.data.recipe.prepare import prepare
from core.data.recipe.preview import preview
from core.data.steps.convert import CONVERTERS
from core.data.steps.kinds import kind_of_row
from core.data.store.dataset import Dataset
from core.data.store.library import import_file, open_dataset
from core.errors import ConfigError, DataError
from core.workspace import Workspace
from tests.conftest import SYLLABLES, write_jsonl
from tests.test_data_formats import turns


def bring(workspace: Workspace, tmp_path: Path, rows: list[dict], name: str = "rows") -> Dataset:
    return import_file(workspace, write_jsonl(tmp_path / f"{name}.jsonl", rows), name)


def shape(
    workspace: Workspace, *steps: dict[str, Any], name: str = "rows", output: str = "made", **more: Any
) -> list[Dataset]:
    return prepare(workspace, Recipe(inputs=[name], steps=list(steps), output=output, **more))


def after(workspace: Workspace, *steps: dict[str, Any], **more: Any) -> list[dict]:
    [dataset] = shape(workspace, *steps, **more)
    return dataset.rows()


def sentence(rng: random.Random, words: int = 40) -> str:
    return " ".join("".join(rng.choices(SYLLABLES[:15], k=rng.randint(1, 3))) for _ in range(words))


def texts(count: int, seed: int = 0) -> list[dict]:
    """Rows that are nothing like each other, a quarter of them from another source."""
    rng = random.Random(seed)
    return [{"text": f"{n} {sentence(rng)}", "source": "book" if n % 4 == 0 else "web"} for n in range(count)]


def plain(rows: list[dict]) -> list[str]:
    return [row["text"] for row in rows]


# -- which rows, in which order ---------------------------------------------------------------------------------------
@pytest.fixture
def hundred(workspace: Workspace, tmp_path: Path) -> list[str]:
    rows = texts(100)
    for number, row in enumerate(rows):
        row["difficulty"] = [3, 1, None, 2][number % 4]
    bring(workspace, tmp_path, rows)
    return plain(rows)


def test_shuffle_keeps_every_row_and_follows_the_seed(workspace: Workspace, hundred: list[str]) -> None:
    once, again = (plain(after(workspace, {"do": "shuffle"}, output=name)) for name in ("a", "b"))
    other = plain(after(workspace, {"do": "shuffle"}, output="c", seed=7))
    assert once == again != other
    assert sorted(once) == sorted(other) == sorted(hundred)
    assert once != hundred


@pytest.mark.parametrize("descending", [False, True])
def test_sort_is_stable_and_puts_rows_without_a_figure_last(
    workspace: Workspace, hundred: list[str], descending: bool
) -> None:
    found = plain(after(workspace, {"do": "sort", "by": "difficulty", "descending": descending}))
    groups = [hundred[1::4], hundred[3::4], hundred[0::4]]
    assert found == [*itertools.chain(*(groups[::-1] if descending else groups)), *hundred[2::4]]


def test_sort_by_length(workspace: Workspace, hundred: list[str]) -> None:
    lengths = [len(text) for text in plain(after(workspace, {"do": "sort", "by": "chars"}))]
    assert lengths == sorted(lengths)


def test_sample_keeps_a_share_in_order(workspace: Workspace, hundred: list[str]) -> None:
    found = plain(after(workspace, {"do": "sample", "share": 0.2}))
    assert len(set(found)) == 20
    assert found == [text for text in hundred if text in set(found)]


def test_sample_by_source_takes_of_each(workspace: Workspace, hundred: list[str]) -> None:
    [dataset] = shape(workspace, {"do": "sample", "rows": 10, "by_source": True})
    assert Counter(meta.source for meta in dataset.meta(range(20))) == {"book": 10, "web": 10}
    assert len(after(workspace, {"do": "sample", "rows": 1000})) == 100


def test_take_and_select(workspace: Workspace, hundred: list[str]) -> None:
    assert plain(after(workspace, {"do": "take", "rows": 5, "start": 11})) == hundred[10:15]
    assert plain(after(workspace, {"do": "take", "rows": 50, "start": 91})) == hundred[90:]
    assert plain(after(workspace, {"do": "select", "rows": "3, 98-200", "keep": True})) == [hundred[2], *hundred[97:]]
    [dataset] = shape(workspace, {"do": "select", "rows": "1, 3-4"})
    assert plain(dataset.rows()) == [hundred[1], *hundred[4:]]
    assert [row["code"] for row in dataset.dropped()] == ["step.taken_out"] * 3


@pytest.mark.parametrize("rows", ["", "0", "7-3", "1,,2", "three"])
def test_row_numbers_that_are_none_are_refused(rows: str) -> None:
    with pytest.raises(ValueError, match="rows"):
        Recipe(inputs=["a"], steps=[{"do": "select", "rows": rows}])


def test_source_renames(workspace: Workspace, hundred: list[str]) -> None:
    [dataset] = shape(workspace, {"do": "source", "old": "web", "new": "internet"})
    assert Counter(meta.source for meta in dataset.meta(range(100))) == {"internet": 75, "book": 25}


# -- split ------------------------------------------------------------------------------------------------------------
def test_a_split_loses_and_doubles_no_row(workspace: Workspace, hundred: list[str]) -> None:
    made = shape(workspace, {"do": "split", "validation": 0.1, "test": 8})
    assert [(dataset.name, len(dataset)) for dataset in made] == [
        ("made-train", 82), ("made-validation", 10), ("made-test", 8),
    ]  # fmt: skip
    parts = [plain(dataset.rows()) for dataset in made]
    assert Counter(itertools.chain(*parts)) == Counter(hundred)
    for part in parts:
        assert part == [text for text in hundred if text in set(part)]


def test_a_split_follows_its_seed(workspace: Workspace, hundred: list[str]) -> None:
    split = {"do": "split", "validation": 20}
    once, again = (plain(shape(workspace, split, output=name)[1].rows()) for name in ("a", "b"))
    other = plain(shape(workspace, split, output="c", seed=1)[1].rows())
    assert once == again != other


def test_every_source_gives_its_share(workspace: Workspace, hundred: list[str]) -> None:
    _, validation = shape(workspace, {"do": "split", "validation": 0.2})
    assert Counter(meta.source for meta in validation.meta(range(20))) == {"book": 5, "web": 15}


def test_the_training_set_can_be_limited(workspace: Workspace, hundred: list[str]) -> None:
    train, validation = shape(workspace, {"do": "split", "validation": 10, "train": 30})
    assert (len(train), len(validation)) == (30, 10)
    assert not set(plain(train.rows())) & set(plain(validation.rows()))


def test_near_duplicates_stay_on_one_side(workspace: Workspace, tmp_path: Path) -> None:
    rows = texts(120)
    twins = [{**row, "text": row["text"] + " indeed"} for row in rows[:60]]
    bring(workspace, tmp_path, rows + twins)
    train, validation = (
        {text.removesuffix(" indeed") for text in plain(dataset.rows())}
        for dataset in shape(workspace, {"do": "split", "validation": 40})
    )
    assert not train & validation
    apart = shape(workspace, {"do": "split", "validation": 40, "together": False}, output="apart")
    sides = [{text.removesuffix(" indeed") for text in plain(dataset.rows())} for dataset in apart]
    assert sides[0] & sides[1]


def test_a_split_succeeds_where_no_group_fits_into_one_source(workspace: Workspace, tmp_path: Path) -> None:
    rows = [{**row, "source": f"s{n % 20}"} for n, row in enumerate(texts(100))]
    bring(workspace, tmp_path, rows + [{**row, "source": f"s{n % 19}"} for n, row in enumerate(rows)])
    train, validation = shape(workspace, {"do": "split", "validation": 0.05})
    assert len(validation) == 10
    assert not set(plain(train.rows())) & set(plain(validation.rows()))


def test_answers_to_one_question_stay_on_one_side(workspace: Workspace, tmp_path: Path) -> None:
    rng = random.Random(3)
    rows = [{"prompt": f"question {n // 4}?", "chosen": sentence(rng), "rejected": sentence(rng)} for n in range(200)]
    bring(workspace, tmp_path, rows)
    train, validation = shape(workspace, {"do": "split", "validation": 0.2})
    questions = [{row["prompt"][0]["content"] for row in dataset.rows()} for dataset in (train, validation)]
    assert len(validation) == 40
    assert not questions[0] & questions[1]


def test_short_equal_rows_stay_on_one_side(workspace: Workspace, tmp_path: Path) -> None:
    rows = [{"text": text} for n in range(50) for text in (f"{n}!", f"{n}?")]
    bring(workspace, tmp_path, rows)
    train, validation = shape(workspace, {"do": "split", "validation": 0.2})
    assert not {text[:-1] for text in plain(train.rows())} & {text[:-1] for text in plain(validation.rows())}


def test_a_preview_of_a_part_splits_in_proportion(workspace: Workspace, tmp_path: Path) -> None:
    bring(workspace, tmp_path, texts(400))
    for step in ({"do": "split", "validation": 200}, {"do": "take", "rows": 200}, {"do": "sample", "rows": 200}):
        [told] = preview(workspace, Recipe(inputs=["rows"], steps=[step]), limit=100)
        assert told.sampled
        assert (told.parts or {"validation": told.after})["validation"] == 50


def test_a_split_that_cannot_be_made_says_so(workspace: Workspace, tmp_path: Path) -> None:
    bring(workspace, tmp_path, [{"text": "always the same few words of a row"}] * 40)
    with pytest.raises(DataError) as caught:
        shape(workspace, {"do": "split"})
    assert caught.value.code == "step.split_empty"
    with pytest.raises(DataError) as caught:
        shape(workspace, {"do": "split", "validation": 40})
    assert caught.value.code == "step.split_too_many"


@pytest.mark.parametrize("sizes", [{"validation": 0}, {"validation": 0.5, "test": 0.5}, {"validation": 1.5}])
def test_sizes_that_make_no_sense_are_refused(sizes: dict) -> None:
    with pytest.raises(ValueError, match=r"rows|share"):
        Recipe(inputs=["a"], steps=[{"do": "split", **sizes}])


# -- kinds ------------------------------------------------------------------------------------------------------------
TALK = {"messages": turns("发烧怎么办？", "多喝水。", "还有呢？", "休息。", system="你是医生。")}
SHORT = {"messages": turns("What helps?", "Rest.")}
PAIR = {"prompt": turns("发烧怎么办？"), "chosen": "多喝水。", "rejected": "不用管。"}
LIST = {"prompt": "What helps?", "answers": [
    {"content": "ok", "score": 2}, {"content": "good", "score": 5}, {"content": "bad", "score": 1},
    {"content": "fine", "score": 2},
]}  # fmt: skip
EXAM = {"question": "哪个是退烧药？", "A": "布洛芬", "B": "葡萄糖", "C": "对乙酰氨基酚", "answer": "AC"}
OF_KIND = {
    "messages": [TALK, SHORT], "preference": [PAIR], "ranked": [LIST], "choice": [EXAM], "text": [{"text": "文"}],
    "prompt": [{"prompt": turns("发烧怎么办？")}],
}  # fmt: skip


def test_a_dialogue_as_text(workspace: Workspace, tmp_path: Path) -> None:
    bring(workspace, tmp_path, OF_KIND["messages"])
    assert plain(after(workspace, {"do": "convert", "to": "text"})) == [
        "系统：你是医生。\n\n用户：发烧怎么办？\n\n助手：多喝水。\n\n用户：还有呢？\n\n助手：休息。",
        "User: What helps?\n\nAssistant: Rest.",
    ]
    bare = plain(after(workspace, {"do": "convert", "to": "text", "role_names": False}))
    assert bare[1] == "What helps?\n\nRest."


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("first", [turns("发烧怎么办？", system="你是医生。"), turns("What helps?")]),
        ("last", [turns("发烧怎么办？", "多喝水。", "还有呢？", system="你是医生。"), turns("What helps?")]),
        ("every", [
            turns("发烧怎么办？", system="你是医生。"),
            turns("发烧怎么办？", "多喝水。", "还有呢？", system="你是医生。"),
            turns("What helps?"),
        ]),
    ],
)  # fmt: skip
def test_prompts_of_dialogues(workspace: Workspace, tmp_path: Path, which: str, expected: list) -> None:
    bring(workspace, tmp_path, OF_KIND["messages"])
    [dataset] = shape(workspace, {"do": "convert", "to": "prompt", "prompts": which})
    assert dataset.rows() == [{"prompt": prompt} for prompt in expected]
    assert (dataset.card.kind, dataset.card.stages) == ("prompt", ["ppo"])
    assert dataset.lines(range(len(dataset))) == ([1, 1, 2] if which == "every" else [1, 2])


def test_pairs_and_lists_become_dialogues_of_the_best_answer(workspace: Workspace, tmp_path: Path) -> None:
    bring(workspace, tmp_path, [PAIR], "pairs")
    bring(workspace, tmp_path, [LIST], "lists")
    assert after(workspace, {"do": "convert", "to": "messages"}, name="pairs") == [
        {"messages": turns("发烧怎么办？", "多喝水。")}
    ]
    assert after(workspace, {"do": "convert", "to": "messages"}, name="lists") == [
        {"messages": turns("What helps?", "good")}
    ]


def test_questions_with_choices(workspace: Workspace, tmp_path: Path) -> None:
    bring(workspace, tmp_path, [EXAM])
    asked = "哪个是退烧药？\nA. 布洛芬\nB. 葡萄糖\nC. 对乙酰氨基酚"
    assert after(workspace, {"do": "convert", "to": "messages"}) == [
        {"messages": turns(asked, "A. 布洛芬\nC. 对乙酰氨基酚")}
    ]
    assert plain(after(workspace, {"do": "convert", "to": "text"})) == [f"{asked}\n答案：A. 布洛芬\nC. 对乙酰氨基酚"]


@pytest.mark.parametrize(
    ("which", "gap", "expected"),
    [
        ("all", 0, ["good>ok", "good>fine", "good>bad", "ok>bad", "fine>bad"]),
        ("all", 2, ["good>ok", "good>fine", "good>bad"]),
        ("best-worst", 0, ["good>bad"]),
        ("adjacent", 0, ["good>ok", "fine>bad"]),
    ],
)
def test_pairs_of_a_ranked_list(
    workspace: Workspace, tmp_path: Path, which: str, gap: float, expected: list[str]
) -> None:
    bring(workspace, tmp_path, [LIST])
    rows = after(workspace, {"do": "pairs", "which": which, "min_gap": gap})
    assert [f"{row['chosen'][0]['content']}>{row['rejected'][0]['content']}" for row in rows] == expected


def test_a_list_without_a_better_answer_is_dropped_with_the_reason(workspace: Workspace, tmp_path: Path) -> None:
    ties = {"prompt": "q", "answers": [{"content": "a", "score": 1}, {"content": "b", "score": 1}]}
    bring(workspace, tmp_path, [LIST, ties])
    [dataset] = shape(workspace, {"do": "convert", "to": "preference"})
    assert [(row["line"], row["code"]) for row in dataset.dropped()] == [(2, "step.no_pairs")]


def test_hindsight_names_the_better_answer_in_the_language_of_the_row(workspace: Workspace, tmp_path: Path) -> None:
    english = {"prompt": turns("q1", "a1", "What helps?"), "chosen": "Rest.", "rejected": "Nothing."}
    bring(workspace, tmp_path, [PAIR, english])
    assert after(workspace, {"do": "hindsight"}) == [
        {
            "messages": turns(
                "发烧怎么办？\n\n下面是一个没有帮助的回答：", "不用管。", "下面是一个有帮助的回答：", "多喝水。"
            )
        },
        {
            "messages": turns(
                "q1", "a1", "What helps?\n\nAn unhelpful answer:", "Nothing.", "A helpful answer:", "Rest."
            )
        },
    ]
    rows = after(
        workspace, {"do": "hindsight", "order": "all", "good": "Good:", "bad": "Bad:"}, {"do": "take", "rows": 4}
    )
    assert [row["messages"] for row in rows] == [
        turns("发烧怎么办？\n\nGood:", "多喝水。"),
        turns("发烧怎么办？\n\nBad:", "不用管。"),
        turns("发烧怎么办？\n\nBad:", "不用管。", "Good:", "多喝水。"),
        turns("发烧怎么办？\n\nGood:", "多喝水。", "Bad:", "不用管。"),
    ]


def test_rounds_of_a_dialogue(workspace: Workspace, tmp_path: Path) -> None:
    bring(workspace, tmp_path, OF_KIND["messages"])
    assert after(workspace, {"do": "rounds"}) == [
        {"messages": turns("发烧怎么办？", "多喝水。", system="你是医生。")},
        {"messages": turns("还有呢？", "休息。", system="你是医生。")},
        SHORT,
    ]
    assert after(workspace, {"do": "rounds", "history": True})[1] == TALK


def test_system_messages(workspace: Workspace, tmp_path: Path) -> None:
    bring(workspace, tmp_path, OF_KIND["messages"])
    added = {"messages": turns("What helps?", "Rest.", system="s")}
    assert after(workspace, {"do": "system", "text": "s"}) == [TALK, added]
    replaced = after(workspace, {"do": "system", "action": "replace", "text": "s"})
    assert [row["messages"][0]["content"] for row in replaced] == ["s", "s"]
    [dataset] = shape(workspace, {"do": "system", "action": "remove"})
    assert [row["messages"] for row in dataset.rows()] == [TALK["messages"][1:], SHORT["messages"]]
    assert dataset.card.steps[0].changed == 1
    with pytest.raises(ValueError, match="system message"):
        Recipe(inputs=["rows"], steps=[{"do": "system"}])


@pytest.mark.parametrize(("kind", "to"), CONVERTERS)
def test_conversions_keep_every_text(workspace: Workspace, tmp_path: Path, kind: str, to: str) -> None:
    """All texts of a row, but for the answers that are not wanted: those of prompts, and the worse of several."""
    source = bring(workspace, tmp_path, OF_KIND[kind])
    [dataset] = shape(workspace, {"do": "convert", "to": to, "prompts": "every"})
    assert dataset.card.kind == to
    assert {kind_of_row(row) for row in dataset.rows()} == {to}
    everything = "\n".join(row_text(dataset.card.kind, row) for row in dataset.rows())
    answers_go = to == "prompt" or (kind in ("preference", "ranked") and to == "messages")
    for row in source.rows():
        asked, answered, _ = texts_of(source.card.kind, row)
        for text in asked if answers_go else [*asked, *answered]:
            assert text in everything


@pytest.mark.parametrize("kind", OF_KIND)
@pytest.mark.parametrize("to", ["text", "messages", "prompt", "preference"])
def test_what_cannot_be_converted_is_refused_before_anything_runs(
    workspace: Workspace, tmp_path: Path, kind: str, to: str
) -> None:
    bring(workspace, tmp_path, OF_KIND[kind])
    if (kind, to) in CONVERTERS:
        assert after(workspace, {"do": "convert", "to": to})
        return
    with pytest.raises(ConfigError) as caught:
        shape(workspace, {"do": "convert", "to": to})
    [problem] = caught.value.problems
    assert (problem.code, problem.key) == ("step.cannot_convert", "recipe.steps[0]")
    assert problem.params["possible"] == (", ".join(t for k, t in CONVERTERS if k == kind) or "–")


@pytest.mark.parametrize("step", [{"do": "convert"}, {"do": "split"}, {"do": "pairs"}, {"do": "hindsight"}])
def test_steps_for_all_rows_take_no_sources(workspace: Workspace, tmp_path: Path, step: dict) -> None:
    bring(workspace, tmp_path, OF_KIND["ranked" if step["do"] == "pairs" else "preference"])
    with pytest.raises(ConfigError) as caught:
        shape(workspace, {**step, "only_sources": ["rows"]})
    assert [problem.code for problem in caught.value.problems] == ["step.all_rows"]


def test_every_step_has_its_words_on_the_page() -> None:
    from webui.text_steps_shape import STEP_TEXT

    for step in SHAPING:
        do = step.model_fields["do"].default
        wanted = {
            do,
            *(f"{do}.{name}" for name in step.model_fields if name not in ("do", "only_sources", "except_sources")),
        }
        assert wanted <= set(STEP_TEXT)


def test_another_kind_of_rows_gets_a_name_of_its_own(workspace: Workspace, tmp_path: Path) -> None:
    pairs = [{"instruction": f"q{number}", "output": "a"} for number in range(3)]
    talk = bring(workspace, tmp_path, pairs, "talk")
    recipe = Recipe.model_validate({"inputs": ["talk"], "steps": [{"do": "convert", "to": "prompt"}]})
    assert [made.name for made in prepare(workspace, recipe)] == ["talk-prompt"]
    assert open_dataset(workspace, "talk").ref == talk.ref
