"""Rows judged by people: what is kept of a key press, what becomes of it, and the same from a terminal."""

from __future__ import annotations

import json
import multiprocessing
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from core.annotating.people import Ratings, annotating, waits_for_person
from core.errors import InputError, StopRequested
from core.jobs.failures import result_for
from core.recipes import annotate as recipe
from core.report import RunContext
from core.rundir import RunDir, State, state_of, write_record
from core.workspace import Workspace
from tests.annotate_tools import again, chats, column, dataset, made_by, rows_of, submitted

ROOT = Path(__file__).parents[1]


def pairs(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"question {n}", "chosen": f"good {n}", "rejected": f"poor {n}"} for n in range(count)]


def waiting(workspace: Workspace, *words: str) -> RunContext:
    """A run that has put its rows before people."""
    context = submitted(workspace, "annotator.kind=person", *words)
    with pytest.raises(StopRequested) as caught:
        recipe.main(context)
    assert caught.value.code == "annotate.waiting"
    write_record(context.run.result_file, result_for(caught.value))
    return context


@pytest.fixture
def comparing(workspace: Workspace, tmp_path: Path) -> RunContext:
    """Twelve pairs, of which a person is to say which answer is better."""
    return waiting(workspace, f"data.rows={dataset(workspace, tmp_path, 'pairs', pairs(12)).ref}", "task.kind=rank")


def better(answers: list[str]) -> list[int]:
    return [0, 1] if answers[0].startswith("good") else [1, 0]


# -- cards and judgements ---------------------------------------------------------------------------------------------
def test_cards_come_in_order_and_blind(comparing: RunContext) -> None:
    ratings = Ratings(comparing.run)
    assert waits_for_person(comparing.run)
    assert [card.number for card in ratings.cards(3)] == [0, 1, 2]
    assert [card.number for card in ratings.cards(3, without=[0, 2])] == [1, 3, 4]
    firsts = {card.answers[0].split()[0] for card in ratings.cards(12)}
    assert firsts == {"good", "poor"}  # the better one is now left, now right


def test_the_dataset_has_what_was_said_whatever_side_it_was_on(comparing: RunContext) -> None:
    ratings = Ratings(comparing.run)
    for card in ratings.cards(12):
        ratings.judge([{"number": card.number, "order": better(card.answers)}])
    again(comparing)
    made = made_by(comparing)
    assert [[(a["content"], a["score"]) for a in row["answers"]] for row in rows_of(made)] == [
        [(f"good {n}", 1.0), (f"poor {n}", 0.0)] for n in range(12)
    ]
    assert made.card.annotation is not None
    assert made.card.annotation["annotator"] == {"kind": "person", "name": ""}


def test_ties_bad_ones_skips_and_better_answers(comparing: RunContext) -> None:
    said = [{"mark": "tie"}, {"mark": "bad"}, {"mark": "skip"}, {"text": "written"}]
    ratings = Ratings(comparing.run)
    ratings.judge([{"number": number, **one} for number, one in enumerate(said)])
    with pytest.raises(StopRequested, match="4 rows that are judged; 12") as caught:
        again(comparing)
    assert caught.value.code == "annotate.made_and_waiting"
    made = made_by(comparing)
    assert caught.value.params["dataset"] == made.ref
    scores = [[answer["score"] for answer in row["answers"]] for row in rows_of(made)]
    assert scores == [[0, 0], [0, 0, 1]]
    assert rows_of(made)[1]["answers"][2]["content"] == "written"
    assert made.card.dropped_counts == {"annotate.all_bad": 1, "annotate.skipped": 1, "annotate.unjudged": 8}

    ratings.judge([{"number": number, "order": [0, 1]} for number in range(12)])  # and on it goes
    again(comparing)
    assert len(made_by(comparing)) == 12


def test_undo_and_a_second_word_replace_the_first(comparing: RunContext) -> None:
    ratings = Ratings(comparing.run)
    ratings.judge([{"number": 0, "mark": "tie"}, {"number": 1, "mark": "tie"}])
    ratings.judge([{"number": 0, "undo": True}, {"number": 1, "order": [1, 0]}])
    assert {number: one.order for number, one in ratings.judgements().items()} == {1: [1, 0]}
    assert ratings.cards(1)[0].number == 0
    lines = len(ratings.file.read_text().splitlines())
    ratings.judge([{"number": 0, "undo": True}, {"number": 1, "order": [1, 0]}])  # sent once more after a reload
    assert len(ratings.file.read_text().splitlines()) == lines


@pytest.mark.parametrize(
    "row",
    [
        {"number": 99, "mark": "tie"},
        {"number": 0},
        {"number": 0, "mark": "fine"},
        {"number": 0, "grade": 3},
        {"number": 0, "order": [0, 0]},
        {"number": 0, "order": [0]},
        {"number": 0, "order": [0, 1], "mark": "tie"},
        {"number": 0, "text": "  "},
        {"number": "0", "mark": "tie"},
        {"mark": "tie"},
    ],
)
def test_what_is_no_judgement_is_refused_and_changes_nothing(comparing: RunContext, row: dict[str, Any]) -> None:
    ratings = Ratings(comparing.run)
    with pytest.raises(InputError) as caught:
        ratings.judge([{"number": 1, "mark": "tie"}, row, {"number": 2, "mark": "tie"}])
    assert caught.value.code == "annotate.bad_judgement"
    assert list(ratings.judgements()) == [1]


def _judge(path: Path, numbers: list[int]) -> None:
    ratings = Ratings(RunDir(path))
    for number in numbers:
        ratings.judge([{"number": number, "text": "x" * 20_000}])


def test_two_may_judge_at_once(comparing: RunContext) -> None:
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_judge, args=(comparing.run.path, list(range(start, 12, 2)))) for start in (0, 1)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    lines = Ratings(comparing.run).file.read_text().splitlines()
    assert sorted(json.loads(line)["number"] for line in lines) == list(range(12))


def test_a_torn_line_is_passed_over(comparing: RunContext) -> None:
    ratings = Ratings(comparing.run)
    ratings.judge([{"number": 3, "mark": "tie"}])
    with open(ratings.file, "ab") as file:
        file.write(b'no json\n{"number": 4, "mark": 7}\n{"number": 5, "ma')
    assert list(ratings.judgements()) == [3]


# -- other tasks ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("kind", "expected"), [("score", [0, 0.25, 1]), ("difficulty", [1, 2, 5])])
def test_one_key_grades(workspace: Workspace, tmp_path: Path, kind: str, expected: list[float]) -> None:
    context = waiting(workspace, f"data.rows={dataset(workspace, tmp_path, 'chat', chats(3)).ref}", f"task.kind={kind}")
    ratings = Ratings(context.run)
    ratings.judge([{"number": number, "grade": grade} for number, grade in enumerate((1, 2, 5))])
    again(context)
    assert column(made_by(context), kind) == expected


def test_answers_are_rewritten_by_hand(workspace: Workspace, tmp_path: Path) -> None:
    context = waiting(
        workspace, f"data.rows={dataset(workspace, tmp_path, 'chat', chats(3)).ref}", "task.kind=improve",
        "task.makes=conversations",
    )  # fmt: skip
    Ratings(context.run).judge(
        [{"number": 0, "text": "mine\n\nin two"}, {"number": 1, "mark": "fine"}, {"number": 2, "mark": "skip"}]
    )
    again(context)
    assert [row["messages"][1]["content"] for row in rows_of(made_by(context))] == ["mine\n\nin two", "answer 1"]


def test_more_answers_than_keys_are_listed(workspace: Workspace, tmp_path: Path) -> None:
    rows = [
        {"prompt": f"q {count}", "answers": [{"content": f"a {n}", "score": 0} for n in range(count)]}
        for count in (10, 11)
    ]
    context = waiting(workspace, f"data.rows={dataset(workspace, tmp_path, 'lists', rows).ref}", "task.kind=rank")
    ratings = Ratings(context.run)
    assert [len(card.answers) for card in ratings.all_cards.values()] == [10]
    ratings.judge([{"number": 0, "order": list(range(10))}])
    again(context)
    [dropped] = made_by(context).dropped()
    assert (dropped["code"], json.loads(dropped["params"])) == ("annotate.many_answers", {"answers": 11, "most": 10})


def test_a_run_that_waits_for_nobody_is_told_so(workspace: Workspace) -> None:
    with pytest.raises(InputError) as caught:
        Ratings(RunDir.create(workspace.runs_dir, "annotate"))
    assert caught.value.code == "annotate.nothing_waits"


def test_nothing_is_made_of_no_judgement(comparing: RunContext) -> None:
    with pytest.raises(StopRequested) as caught:
        again(comparing)
    assert (caught.value.code, caught.value.params["rated"]) == ("annotate.waiting", 0)
    assert not (annotating(comparing.run) / "scratch").exists()


# -- in a terminal ----------------------------------------------------------------------------------------------------
class Terminal:
    """`python -m core …` on a terminal of its own."""

    def __init__(self, *words: str) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "core", *words], stdin=slave, stdout=slave, stderr=slave, cwd=ROOT, close_fds=True
        )
        os.close(slave)
        self.seen = ""

    def shows(self, text: str, seconds: float = 60.0) -> None:
        """Wait until `text` is shown, and forget what came before it."""
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen[-2000:]
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.master, 65536).decode("utf-8", "replace")
                except OSError:
                    assert text in self.seen, self.seen[-2000:]
        self.seen = self.seen[self.seen.index(text) + len(text) :]

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def ends(self) -> int:
        code = self.process.wait(60)
        os.close(self.master)
        return code


def test_rows_are_judged_in_a_terminal(workspace: Workspace, comparing: RunContext) -> None:
    terminal = Terminal("--workspace", str(workspace.path), "rate", comparing.run.id)
    terminal.shows("0 of 12")
    terminal.press("1")
    terminal.shows("1 of 12")
    terminal.press("tb x")
    terminal.shows("4 of 12")
    terminal.press("u")
    terminal.shows("3 of 12")
    terminal.press("2")
    terminal.shows("4 of 12")
    terminal.press("e")
    terminal.shows("Write a better answer")
    terminal.press("a better\nanswer\n.\n")
    terminal.shows("5 of 12")
    terminal.press("q")
    terminal.shows("5 of 12 judged")
    assert terminal.ends() == 0
    found = Ratings(comparing.run).judgements()
    assert found[0].order == [0, 1]
    assert [found[number].mark for number in (1, 2)] == ["tie", "bad"]
    assert found[3].order == [1, 0]
    assert found[4].text == "a better\nanswer"


def test_from_the_start_of_a_run_to_its_dataset_in_one_terminal(workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "few.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in pairs(3)), encoding="utf-8")
    terminal = Terminal(
        "--workspace", str(workspace.path), "annotate", f"data.rows={file}", "task.kind=rank", "annotator.kind=person"
    )
    terminal.shows("0 of 3")
    terminal.press("1")
    terminal.shows("1 of 3")
    terminal.press("2t")
    terminal.shows("Enter makes the dataset")
    terminal.press("\n")
    terminal.shows("succeeded")
    assert terminal.ends() == 0
    [run] = workspace.runs()
    assert state_of(run) is State.SUCCEEDED


def test_without_a_terminal_it_says_where_else(workspace: Workspace, comparing: RunContext) -> None:
    words = [sys.executable, "-m", "core", "--workspace", str(workspace.path), "rate", comparing.run.id]
    ended = subprocess.run(words, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "on the page" in ended.stderr
