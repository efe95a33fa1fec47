"""The shapes of the field's public sets, each with rows as its files have them (their texts are ours)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from core.data.check.doctor import check_file
from core.data.dialogue import RowError
from core.data.shapes.formats import SHAPES, detect, rows_of, shape_named
from core.data.store.library import import_file
from core.errors import DataError
from core.workspace import Workspace
from tests.conftest import write_jsonl
from tests.test_data_formats import GOOD, turns


def answer(content: str) -> list[dict]:
    return [{"role": "assistant", "content": content}]


def ranked(prompt: str, *answers: tuple[str, float]) -> dict:
    return {"prompt": turns(prompt), "answers": [{"content": text, "score": score} for text, score in answers]}


def message(text: str, role: str = "assistant", rank: int | None = None, replies: list | None = None, **more) -> dict:
    found = {"message_id": f"id-{text}", "text": text, "role": role, "lang": "en", "review_count": 3, "deleted": False}
    return {
        **found,
        "rank": rank,
        "synthetic": False,
        "labels": {"spam": {"value": 0.0}},
        "replies": replies or [],
        **more,
    }


def aspect(rating: str) -> dict:
    return {"Rating": rating, "Rationale": "…"}


TREE = {
    "message_tree_id": "id-q1",
    "tree_state": "ready_for_export",
    "prompt": message("q1", "prompter", replies=[
        message("worse", rank=1, replies=[message("q2 to worse", "prompter", replies=[message("a")])]),
        message("best", rank=0, replies=[
            message("q2", "prompter", replies=[message("a2b", rank=2), message("a2", rank=0), message("a2c", rank=1)]),
            message("q3", "prompter", replies=[message("a3")]),
            message("not answered", "prompter"),
        ]),
        message("gone", rank=2, deleted=True, replies=[message("below", "prompter")]),
    ]),
}  # fmt: skip
THREADS = [{"messages": turns("q1", "best", "q2", "a2")}, {"messages": turns("q1", "best", "q3", "a3")}]
SIBLINGS = [
    ranked("q1", ("worse", -1.0), ("best", 0.0)),
    {"prompt": turns("q1", "best", "q2"), "answers": ranked("", ("a2b", -2.0), ("a2", 0.0), ("a2c", -1.0))["answers"]},
]
EXAM = {"question": "医师资格考试属于", "choices": ["行业自律", "国家准入", "学历考试"], "answer": "B"}
OPTIONS = {"A": "行业自律", "B": "国家准入", "C": "学历考试"}

FIELD = [
    # pairs and ranked lists
    ("shp", {"post_id": "x", "domain": "askdocs_train", "history": "q", "human_ref_A": "a", "human_ref_B": "b",
             "labels": 0, "score_A": 3, "score_B": 9, "score_ratio": 3.0},
     [{"prompt": turns("q"), "chosen": answer("b"), "rejected": answer("a")}]),
    ("shp", {"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": "1"},
     [{"prompt": turns("q"), "chosen": answer("a"), "rejected": answer("b")}]),
    ("ultrafeedback", {"source": "evol_instruct", "instruction": "q", "models": ["m", "n"], "completions": [
        {"annotations": {"helpfulness": aspect("4"), "honesty": aspect("5"), "truthfulness": aspect("N/A")},
         "custom_system_prompt": "…", "model": "m", "principle": "helpfulness", "response": "a", "critique": "…",
         "overall_score": 10.0},
        {"annotations": {}, "model": "n", "response": "b", "fine-grained_score": 3.25, "overall_score": 10},
        {"model": "o", "response": "c", "overall_score": 6.5}],
        "correct_answers": ["None"], "incorrect_answers": ["None"]},
     [ranked("q", ("a", 4.5), ("b", 3.25), ("c", 6.5))]),
    ("ranked-scores", {"prompt": "q", "answers": [{"text": "a", "score": 1}, {"text": "b", "score": 5}]},
     [ranked("q", ("a", 1.0), ("b", 5.0))]),
    ("ranked-scores", {"qid": 1, "question": "q", "answers": [
        {"answer_id": 7, "author": "x", "pm_score": 3, "selected": True, "text": "a"},
        {"answer_id": 8, "author": "y", "pm_score": 0, "selected": False, "text": "b"}]},
     [ranked("q", ("a", 3.0), ("b", 0.0))]),
    ("ranked-scores", {"prompt": turns("q"), "responses": ["a", "b", "c"], "scores": [3, "2.5", None]},
     [ranked("q", ("a", 3.0), ("b", 2.5))]),
    ("ranked-scores", {"instruction": "q", "input": "x", "generations": ["a", "b"], "ratings": [4.0, 2.0]},
     [ranked("q\nx", ("a", 4.0), ("b", 2.0))]),
    ("ranked-ranks", {"prompt": "q", "responses": [{"response": "a", "rank": 2}, {"response": "b", "rank": 1}]},
     [ranked("q", ("a", -2.0), ("b", -1.0))]),
    ("ranked-ranks", {"prompt": "q", "completions": ["a", "b"], "ranks": [0, 1]},
     [ranked("q", ("a", 0.0), ("b", -1.0))]),
    # trees
    ("oasst-trees", TREE, THREADS),
    # multiple choice
    ("choice", {"": "0", "Question": "医师资格考试属于", **OPTIONS, "Answer": "B"}, [EXAM]),
    ("choice", {"id": 0, "question": "医师资格考试属于", **OPTIONS, "D": "", "answer": "B", "explanation": "…"},
     [EXAM]),
    ("choice-options", {"exam_type": "医师考试", "exam_class": "执业医师", "question": "医师资格考试属于",
                        "answer": "B", "question_type": "单项选择题", "option": OPTIONS}, [EXAM]),
    ("choice-options", {"Question": "医师资格考试属于", "Options": "A 行业自律\nB 国家准入\nC 学历考试", "Answer": "B",
                        "Explanation": "准入。", "Disease Group": "-"}, [EXAM]),
    ("choice-options", {"Question": "医师资格考试属于", "Options": "A. 行业自律\nB、国家准入\nC：学历考试",
                        "Answer": "A,C"},
     [{**EXAM, "answer": "AC"}]),
    ("choice-options", {"question": "医师资格考试属于", "answer_idx": "B", "answer": "国家准入", "meta_info": "step1",
                        "options": [{"key": key, "value": OPTIONS[key]} for key in OPTIONS]}, [EXAM]),
    ("choice-options", {"question": "医师资格考试属于", "options": OPTIONS, "answer": "国家准入"}, [EXAM]),
    ("choice-options", {"question": "医师资格考试属于", "subject": "law", "choices": [*OPTIONS.values()], "answer": 1},
     [EXAM]),
    ("choice-options", {"id": "t", "question": "医师资格考试属于", "answer": "(B) 国家准入",
                        "choices": [f"({key}) {OPTIONS[key]}" for key in OPTIONS]}, [EXAM]),
    ("choice-options", {"id": "Mercury_1", "question": "医师资格考试属于", "answerKey": "2",
                        "choices": {"text": [*OPTIONS.values()], "label": ["1", "2", "3"]}}, [EXAM]),
    ("medmcqa", {"id": "x", "question": "q", "opa": "1", "opb": "2", "opc": "3", "opd": "4", "cop": 0, "exp": "…",
                 "choice_type": "single", "subject_name": "Anatomy", "topic_name": None},
     [{"question": "q", "choices": ["1", "2", "3", "4"], "answer": "A"}]),
    ("medmcqa-from-1", {"question": "q", "opa": "1", "opb": "2", "opc": "3", "opd": "4", "cop": "4"},
     [{"question": "q", "choices": ["1", "2", "3", "4"], "answer": "D"}]),
    # dialogues
    ("belle", {"instruction": "Human:你好，\n请问\nAssistant:请说。\nHuman:发烧怎么办？\nAssistant:", "input": "",
               "output": "多喝水。"}, [{"messages": turns("你好，\n请问", "请说。", "发烧怎么办？", "多喝水。")}]),
    ("question-lists", {"questions": [["q", "Q"]], "answers": ["a"]},
     [{"messages": turns("q", "a")}, {"messages": turns("Q", "a")}]),
    ("question-lists", {"questions": ["q", "r"], "answers": ["a", "b"]},
     [{"messages": turns("q", "a")}, {"messages": turns("r", "b")}]),
    ("question-lists", {"question": "q", "answer": ["a", "b"]},
     [{"messages": turns("q", "a")}, {"messages": turns("q", "b")}]),
    ("huatuogpt", {"data": ["问：发烧怎么办？", "答：多喝水。", "问:还要什么", "答:休息"]},
     [{"messages": turns("发烧怎么办？", "多喝水。", "还要什么", "休息")}]),
    # questions alone
    ("prompt", {"prompt": "q", "source": "clinic"}, [{"prompt": turns("q")}]),
    ("prompt", {"prompt": turns("q", "a", "q2", system="s")}, [{"prompt": turns("q", "a", "q2", system="s")}]),
    ("prompt", {"query": "q", "system": "s"}, [{"prompt": turns("q", system="s")}]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "row", "expected"), FIELD)
def test_rows_of_the_field_become_canonical(name: str, row: dict, expected: list[dict]) -> None:
    shape = detect([row]).shape
    assert shape is not None
    assert shape.name == name
    assert rows_of(shape, row) == expected


def test_every_shape_of_the_table_is_tested() -> None:
    elsewhere = {
        "oasst-table",
        "oasst-trees-ranked",
        "oasst-table-ranked",
        "parallel",
        "parallel-back",
        "parallel-both",
        "text-paragraphs",
        "text-file",
    }
    assert {name for name, *_ in (*GOOD, *FIELD)} | elsewhere == {shape.name for shape in SHAPES}


BAD = [
    ("ranked-scores", {"prompt": "q", "responses": ["a", "b"], "scores": [1]}, "data.unequal_scores"),
    ("ranked-scores", {"prompt": "q", "responses": ["a", "b"], "scores": [1, None]}, "data.few_answers"),
    ("ranked-scores", {"prompt": "q", "responses": ["a", 5], "scores": [1, 2]}, "data.not_answers"),
    ("ranked-ranks", {"prompt": "q", "responses": [{"text": "a", "score": 2}, {"text": "b", "score": 1}]},
     "data.few_answers"),
    ("shp", {"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": 2}, "data.pair_label"),
    ("question-lists", {"questions": ["q", "r", "s"], "answers": ["a", "b"]}, "data.unequal_lists"),
    ("question-lists", {"questions": [[]], "answers": ["a"]}, "data.empty_value"),
    ("medmcqa", {"question": "q", "opa": "1", "opb": "2", "opc": "3", "opd": "4", "cop": -1}, "data.choice_answer"),
    ("choice-options", {"Question": "q", "Options": "no letters", "Answer": "A"}, "data.choices"),
    ("choice-options", {"question": "q", "choices": ["x", "y"], "answer": 2}, "data.choice_answer"),
    ("oasst-trees", {"prompt": message("q", "prompter")}, "data.no_thread"),
    ("oasst-trees", {"prompt": message("q", "prompter", replies=[message("")])}, "data.empty_turn"),
    ("oasst-trees-ranked", {"prompt": message("q", "prompter", replies=[message("a")])}, "data.no_ranks"),
    ("parallel", {"translation": ["a", "b"]}, "data.not_parallel"),
    ("prompt", {"prompt": turns("q", "a")}, "data.no_question"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "row", "code"), BAD)
def test_wrong_rows_get_their_code(name: str, row: dict, code: str) -> None:
    with pytest.raises(RowError) as caught:
        rows_of(shape_named(name), row)
    assert caught.value.code == code


def test_an_unknown_shape_is_told_with_the_nearest() -> None:
    with pytest.raises(DataError) as caught:
        shape_named("sharegtp")
    assert caught.value.params["nearest"] == "sharegpt"


# -- scores and ranks -------------------------------------------------------------------------------------------------
def test_the_evidence_says_whether_scores_or_ranks_were_read() -> None:
    scores = [{"prompt": "q", "answers": [{"text": "a", "score": n}, {"text": "b", "score": 3}]} for n in (1, 5)]
    ranks = [{"prompt": "q", "answers": [{"text": "a", "rank": n}, {"text": "b", "rank": 3}]} for n in (1, 5)]
    assert "a higher score is better" in detect(scores).evidence.message
    assert "the lowest rank is the best" in detect(ranks).evidence.message


def test_where_cop_begins_to_count_is_told_by_the_whole_file() -> None:
    row = {"question": "q", "opa": "1", "opb": "2", "opc": "3", "opd": "4"}
    from_zero = detect([{**row, "cop": cop} for cop in (1, 2, 3, 0)])
    from_one = detect([{**row, "cop": cop} for cop in (1, 2, 3, 4)])
    assert (from_zero.shape.name, from_one.shape.name) == ("medmcqa", "medmcqa-from-1")
    assert "0 is the first choice" in from_zero.evidence.message


# -- trees ------------------------------------------------------------------------------------------------------------
def flat(tree: dict) -> list[dict]:
    """The message table of a tree, as oasst publishes it."""
    found = []

    def walk(node: dict, parent: str | None) -> None:
        row = {key: value for key, value in node.items() if key != "replies"}
        found.append({**row, "parent_id": parent, "message_tree_id": tree["message_tree_id"]})
        for reply in node["replies"]:
            walk(reply, node["message_id"])

    walk(tree["prompt"], None)
    return found


def test_a_tree_gives_its_ranked_siblings_too() -> None:
    assert rows_of(shape_named("oasst-trees-ranked"), TREE) == SIBLINGS


@pytest.mark.parametrize(("shape", "expected"), [("oasst-table", THREADS), ("oasst-table-ranked", SIBLINGS)])
def test_the_flat_table_gives_what_the_tree_gives(
    workspace: Workspace, tmp_path: Path, shape: str, expected: list[dict]
) -> None:
    path = write_jsonl(tmp_path / "oasst.jsonl", flat(TREE))
    assert check_file(path).format == "oasst-table"
    dataset = import_file(workspace, path, format=shape)
    assert dataset.rows() == expected
    assert dataset.lines(range(2)) == [1, 1]


def test_the_order_of_the_table_does_not_matter(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "oasst.messages.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in reversed(flat(TREE)))
    rows = import_file(workspace, path).rows()
    assert sorted(map(str, rows)) == sorted(map(str, THREADS))


def test_a_message_whose_parent_is_missing_is_a_problem_of_its_line(tmp_path: Path) -> None:
    rows = [row for row in flat(TREE) if row["text"] != "q3"]
    report = check_file(write_jsonl(tmp_path / "t.jsonl", rows))
    assert [(problem.code, problem.line) for problem in report.problems] == [
        ("data.no_parent", 1 + next(i for i, row in enumerate(rows) if row["text"] == "a3"))
    ]


def test_several_rows_of_one_line_keep_its_number(workspace: Workspace, tmp_path: Path) -> None:
    rows = [{"questions": [["q", "Q"]], "answers": ["a"]}, {"questions": ["r"], "answers": ["b"]}]
    dataset = import_file(workspace, write_jsonl(tmp_path / "h.jsonl", rows))
    assert (len(dataset), dataset.lines(range(3))) == (3, [1, 1, 2])


# -- parallel text ----------------------------------------------------------------------------------------------------
SIDES = [
    {"source": "发烧了怎么办？", "target": "What to do about a fever?"},
    {"zh": "发烧了怎么办？", "en": "What to do about a fever?"},
    {"translation": {"zh": "发烧了怎么办？", "en": "What to do about a fever?"}},
    {"src": "发烧了怎么办？", "tgt": "What to do about a fever?", "source": "clinic"},
]


@pytest.mark.parametrize("row", SIDES)
def test_parallel_text_becomes_a_translation(row: dict) -> None:
    assert detect([row]).shape.name == "parallel"
    [forward] = rows_of(shape_named("parallel"), row)
    [backward] = rows_of(shape_named("parallel-back"), row)
    assert "发烧了怎么办？" in forward["messages"][0]["content"]
    assert "English" in forward["messages"][0]["content"] or "英文" in forward["messages"][0]["content"]
    assert forward["messages"][1]["content"] == "What to do about a fever?"
    assert backward["messages"][1]["content"] == "发烧了怎么办？"
    assert rows_of(shape_named("parallel-both"), row) == [forward, backward]


def test_the_first_column_is_translated_into_the_second() -> None:
    [row] = rows_of(shape_named("parallel"), {"en": "fever", "zh": "发烧"})
    assert row["messages"][1]["content"] == "发烧"


def test_instructions_vary_and_are_the_same_for_the_same_row() -> None:
    rows = [{"zh": f"第{n}句", "en": f"sentence {n}"} for n in range(60)]
    asked = [rows_of(shape_named("parallel"), row)[0]["messages"][0]["content"] for row in rows]
    assert asked == [rows_of(shape_named("parallel"), row)[0]["messages"][0]["content"] for row in rows]
    forms = {text.replace(row["zh"], "…") for text, row in zip(asked, rows, strict=True)}
    assert len(forms) >= 8
    assert {text[0].isascii() for text in forms} == {True, False}


def test_braces_in_a_text_stay_text() -> None:
    row = {"zh": "变量 {target} 与 {0}", "en": "the variables {target} and {0}"}
    [dialogue] = rows_of(shape_named("parallel"), row)
    assert row["zh"] in dialogue["messages"][0]["content"]


def test_a_table_with_two_languages_is_parallel_text(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("source\ttarget\n发烧\tfever\n头痛\theadache\n", encoding="utf-8")
    dataset = import_file(workspace, path)
    assert dataset.card.format == "parallel"
    assert [row["messages"][1]["content"] for row in dataset.rows()] == ["fever", "headache"]
    assert {meta.source for meta in dataset.meta(range(2))} == {None}


def test_source_and_target_in_one_language_are_no_parallel_text() -> None:
    assert detect([{"source": "a long text", "target": "a summary"}]).shape is None
