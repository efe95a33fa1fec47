"""Votes: the file, win rates against numbers worked by hand, preference rows, and the command."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
from pathlib import Path

import pytest

from core.__main__ import main
from core.data.store.library import list_datasets, open_dataset
from core.errors import DataError
from core.talks import BAD, TIE, Talk
from core.votes import append, make_dataset, pairs, vote_on, votes, win_rates
from core.workspace import Workspace
from tests.test_talks import talk_of


def cast(workspace: Workspace, talk: Talk, choice: str, at: int = 0) -> None:
    vote = vote_on(talk, talk.turns[at], choice)
    assert vote is not None
    append(workspace, vote)


def elections(workspace: Workspace, *choices: str, panes: int = 2) -> None:
    """A conversation of one turn for each choice."""
    for number, choice in enumerate(choices):
        answers = {name: f"{name} {number}" for name in "abcd"[:panes]}
        cast(workspace, talk_of(answers, panes=panes), choice)


# -- the file ---------------------------------------------------------------------------------------------------------
def test_a_vote_says_who_answered_what(workspace: Workspace) -> None:
    talk = talk_of({"a": "A0", "b": "B0"}, {"a": "A1", "b": "B1"})
    talk.blind, talk.order = True, ["b", "a"]
    cast(workspace, talk, "a", at=1)
    (vote,) = votes(workspace)
    assert (vote.talk, vote.turn, vote.verdict, vote.winner, vote.blind) == (talk.id, "t1", "better", 1, True)
    assert [answer.name for answer in vote.answers] == ["sft", "base"]  # as they stood
    assert [message["content"] for message in vote.answers[0].prompt] == ["q0", "B0", "q1"]
    assert vote.answers[0].adapter_sha256 == "s" * 64
    assert vote.sampling == {"seed": 42}


def test_the_last_vote_on_a_turn_counts_and_can_be_taken_back(workspace: Workspace) -> None:
    talk = talk_of({"a": "A", "b": "B"})
    for choice in ("a", "b", TIE):
        cast(workspace, talk, choice)
    assert [vote.verdict for vote in votes(workspace)] == ["tie"]
    cast(workspace, talk, "")
    assert votes(workspace) == []
    assert len(workspace.votes_file.read_text().splitlines()) == 4


@pytest.mark.parametrize("choice", ["c", "d", "nobody"])
def test_only_an_answer_that_is_there_can_win(choice: str) -> None:
    talk = talk_of({"a": "A", "b": "B"})
    assert vote_on(talk, talk.turns[0], choice) is None


def test_lines_that_are_no_votes_are_left_out_and_a_torn_one_is_not_joined(workspace: Workspace) -> None:
    elections(workspace, "a")
    good = workspace.votes_file.read_text()
    wrong = json.dumps({**json.loads(good), "turn": "other", "winner": 5})
    workspace.votes_file.write_text(good + wrong + "\n" + good[:40])
    elections(workspace, TIE)
    assert [vote.verdict for vote in votes(workspace)] == ["better", "tie"]


def _many(path: Path, number: int) -> None:
    for at in range(40):
        talk = talk_of({"a": f"A{number}-{at} " * 400, "b": "B"})
        cast(Workspace(path), talk, "a")


def test_several_writers_never_mix_their_lines(workspace: Workspace) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_many, args=(workspace.path, number)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert len(votes(workspace)) == 120
    assert all(json.loads(line) for line in workspace.votes_file.read_text().splitlines())


def _on_a_full_disk(path: Path) -> None:
    limit = (path / "votes.jsonl").stat().st_size + 50
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        cast(Workspace(path), talk_of({"a": "A", "b": "B"}), "a")
    except DataError as error:
        os._exit(0 if error.code == "data.disk_full" else 3)
    os._exit(4)


def test_a_full_disk_leaves_the_file_as_it_was(workspace: Workspace) -> None:
    elections(workspace, "a")
    before = workspace.votes_file.read_bytes()
    writer = multiprocessing.get_context("spawn").Process(target=_on_a_full_disk, args=(workspace.path,))
    writer.start()
    writer.join(60)
    assert writer.exitcode == 0
    assert workspace.votes_file.read_bytes() == before


# -- win rates --------------------------------------------------------------------------------------------------------
def test_win_rates_of_two(workspace: Workspace) -> None:
    elections(workspace, *"bbb", "a", TIE, TIE, BAD)
    (only,) = win_rates(votes(workspace))
    assert (only.first, only.second) == ("sft", "base")
    assert (only.wins, only.losses, only.ties, only.bad) == (3, 1, 2, 1)
    assert only.rate == 0.75  # of the four that decided something
    assert only.interval == pytest.approx((0.3006, 0.9544), abs=5e-5)  # (0.75 + 1.9208/4 ± …) / (1 + 3.8416/4)


def test_the_best_of_four_has_beaten_each_other(workspace: Workspace) -> None:
    elections(workspace, "c", "c", "a", TIE, panes=4)
    found = {(each.first, each.second): (each.wins, each.losses, each.ties) for each in win_rates(votes(workspace))}
    assert found == {
        ("ppo", "base"): (2, 1, 1), ("ppo", "sft"): (2, 0, 1), ("ppo", "dpo"): (2, 0, 1),
        ("base", "sft"): (1, 0, 1), ("base", "dpo"): (1, 0, 1), ("dpo", "sft"): (0, 0, 1),
    }  # fmt: skip


def test_models_are_told_apart_by_their_weights(workspace: Workspace) -> None:
    elections(workspace, "b")
    talk = talk_of({"a": "A", "b": "B"})
    talk.turns[0].replies["b"].made.adapter_sha256 = "9" * 64  # trained anew under the old name
    cast(workspace, talk, "b")
    same = talk_of({"a": "A", "b": "B"})
    same.turns[0].replies["b"] = same.turns[0].replies["a"].model_copy()
    cast(workspace, same, "a")  # a model beside itself: nobody has won
    three = talk_of({"a": "A", "b": "B", "c": "C"}, panes=3)
    three.turns[0].replies["c"] = three.turns[0].replies["b"].model_copy()
    cast(workspace, three, "a")  # a model in two panes: it has lost once
    found = {(each.first, each.second): (each.wins, each.losses) for each in win_rates(votes(workspace))}
    assert found == {("base", "sft (ssssssss)"): (1, 1), ("sft (99999999)", "base"): (1, 0)}


# -- preference rows --------------------------------------------------------------------------------------------------
def test_votes_become_pairs_and_say_what_did_not(workspace: Workspace) -> None:
    elections(workspace, "a", TIE, BAD)
    cast(workspace, talk_of({"a": "same", "b": " same "}), "a")
    talk = talk_of({"a": "A0", "b": "B0"}, {"a": "A1", "b": "B1"})
    cast(workspace, talk, "b", at=1)  # each answered to what itself had said before
    made = pairs(votes(workspace))
    assert made.rows == [
        {
            "prompt": [{"role": "user", "content": "q0"}],
            "chosen": [{"role": "assistant", "content": "a 0"}],
            "rejected": [{"role": "assistant", "content": "b 0"}],
        }
    ]
    assert made.left._asdict() == {"ties": 1, "bad": 1, "histories": 1, "same": 1}


def test_votes_are_a_dataset_that_grows(workspace: Workspace) -> None:
    with pytest.raises(DataError, match="No vote makes a pair yet"):
        make_dataset(workspace)
    assert list_datasets(workspace) == []
    elections(workspace, "c", panes=4)
    first, _ = make_dataset(workspace)
    assert (first.name, first.card.kind, len(first)) == ("chat-votes", "preference", 3)
    assert {"reward", "dpo"} <= set(first.card.stages)
    again, _ = make_dataset(workspace)
    assert again.ref == first.ref  # nothing new
    elections(workspace, "a")
    assert len(make_dataset(workspace)[0]) == 4
    assert len(open_dataset(workspace, "chat-votes")) == 4
    cast(workspace, talk_of({"a": "\ufffd\ufffd\ufffd", "b": "whole"}), "a")
    cast(workspace, talk_of({"a": "one\x15two", "b": "whole"}), "a")
    mended, _ = make_dataset(workspace)
    assert (len(mended), mended.card.dropped, mended.card.repaired) == (5, 1, 1)
    assert list((workspace.cache_dir / "votes").iterdir()) == []


# -- the command ------------------------------------------------------------------------------------------------------
def run(workspace: Workspace, *words: str) -> int:
    return main(["--workspace", str(workspace.path), "votes", *words])


def test_the_command_lists_exports_and_makes_the_dataset(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(workspace) == 0
    assert "no votes yet" in capsys.readouterr().out
    assert run(workspace, "dataset") == 2
    assert run(workspace, "export", "--to", str(tmp_path / "pairs.jsonl")) == 2
    assert not (tmp_path / "pairs.jsonl").exists()
    elections(workspace, "b", "b", TIE)
    capsys.readouterr()
    assert run(workspace) == 0
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row[:7] == ["sft", "base", "2", "0", "1", "0", "100%"]
    assert run(workspace, "--json") == 0
    assert json.loads(capsys.readouterr().out)["pairs"][0]["wins"] == 2
    assert run(workspace, "export", "--to", str(tmp_path / "pairs.jsonl")) == 0
    assert len((tmp_path / "pairs.jsonl").read_text().splitlines()) == 2
    assert "left out: 1 ties" in capsys.readouterr().out
    assert run(workspace, "export", "--to", str(tmp_path / "no" / "pairs.jsonl")) == 2
    assert run(workspace, "dataset") == 0
    assert "chat-votes@" in capsys.readouterr().out
