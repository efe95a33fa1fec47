"""The Chat tab without a browser: what it shows, whom it may ask, and real answers of the tiny model."""

from __future__ import annotations

import html
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import run_webui
from core.errors import GalenError, InputError, ModelError
from core.models.library import describe, write_card
from core.recipes import reward as reward_recipe
from core.records import Manifest
from core.rundir import RunDir, write_record
from core.serving.session import stop_server
from core.talks import Pane, Talk, Turn, begin_turn, markdown, new_talk
from core.votes import Pairing, Pairs
from core.workspace import Workspace
from tests.conftest import write_jsonl
from tests.models_tools import make_adapter, make_run, make_whole_run
from tests.test_reward import start
from tests.test_reward_pairs import pair_rows
from tests.test_talks import EVIL, made, reply, talk_of
from webui import views_chat, views_contest
from webui.alone import check_models
from webui.answers import SAMPLING, Answers, Judging, read_sampling
from webui.catalog import Reader
from webui.contestants import BASE, Contestants, Seat
from webui.views_chat import folded, thoughts

SETTINGS = {"max_tokens": 12, "temperature": 0.9, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0, "seed": 5}


# -- what is shown ----------------------------------------------------------------------------------------------------
def text_of(shown: str) -> str:
    """What stands in the answers' boxes, character by character, without the folds' summaries."""
    without = re.sub(r"<summary>.*?</summary>", "", shown, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", "", without))


THINKING = [
    ("no thinking at all", []),
    ("<think>\nhm\n</think>\n\nYes.", ["<think>\nhm\n</think>"]),
    ("<think>\nnot yet over <b>", ["<think>\nnot yet over <b>"]),
    ("opened by the template\n</think>\nYes.", ["opened by the template\n</think>"]),
    ("  <think>a</think>one\n<think>b</think>two", ["  <think>a</think>", "<think>b</think>"]),
    ("The tag `<think>` and `</think>` in a sentence.", []),
    ("", []),
    ("<thin", []),
    ("<think></think>", ["<think></think>"]),
]


@pytest.mark.parametrize(("text", "thinking"), THINKING)
def test_thinking_is_folded_and_nothing_is_lost(text: str, thinking: list[str]) -> None:
    pieces = thoughts(text)
    assert "".join(piece for _, piece in pieces) == text
    assert [piece for folds, piece in pieces if folds] == thinking
    assert text_of(folded(text, "k", "en")) == text
    for end in range(len(text)):  # as it streams
        assert text_of(folded(text[:end], "k", "en", live=True)) == text[:end]


@pytest.mark.parametrize("text", [EVIL, "\r\n\r", "a\tb  c\n\n", "&amp;lt; ${x} {{y}}", "\u202e\u200b 药 💊"])
def test_every_character_is_shown_as_it_is(text: str) -> None:
    talk = talk_of({"a": text, "b": text})
    talk.turns[0].question = text
    shown = views_chat.turns(talk, 0, 1, "en")
    assert "<script" not in shown
    boxes = re.findall(r'<div class="reply">(.*?)</div>(?=<div class="made">)', shown, re.DOTALL)
    assert [text_of(box) for box in boxes] == [text, text]
    (asked,) = re.findall(r'<div class="asked-text">(.*?)</div>', shown, re.DOTALL)
    assert html.unescape(asked) == text
    (field,) = re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", shown, re.DOTALL)
    assert html.unescape(field) == text
    copied = re.findall(r'data-copy="(.*?)"', shown, re.DOTALL)
    assert [html.unescape(each) for each in copied] == [text, text]


def test_whoever_wrote_it_is_escaped_everywhere(workspace: Workspace, tiny_model: Path) -> None:
    run = make_run(workspace, tiny_model, name=EVIL)
    talk = talk_of({"a": EVIL, "b": EVIL})
    talk.panes = [Pane(id="a", model=run.id), Pane(id="b", model=EVIL)]
    one, other = talk.turns[0].replies.values()
    one.name = other.name = one.error = other.judge_error = EVIL
    contestants = Contestants(workspace, Reader(workspace))
    rates = [Pairing(EVIL, EVIL, wins=1)]
    everything = "".join(
        [
            views_chat.turns(talk, 0, 1, "en"),
            views_contest.heads(talk, contestants, "en"),
            views_contest.wins(rates, Pairs(), "", "en"),
            views_contest.shelf([], EVIL, "", "en", keeps=True),
        ]
    )
    assert "<script" not in everything
    assert everything.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 10


def test_revealed_panes_have_the_letters_and_the_order_of_their_answers(workspace: Workspace) -> None:
    talk = talk_of({"a": "one answer", "b": "another"})
    talk.panes = [Pane(id="a", model="first"), Pane(id="b", model="second")]
    talk.blind, talk.order = True, ["b", "a"]
    contestants = Contestants(workspace, Reader(workspace))

    def stand() -> list[tuple[str, ...]]:
        heads = views_contest.heads(talk, contestants, "en")
        return re.findall(r'data-pane="(.)"><div class="line">(?:<b class="letter">(.)</b>)?', heads)

    assert stand() == [("a", ""), ("b", "")]
    assert "further questions" not in views_contest.heads(talk, contestants, "en")
    talk.revealed = True
    assert stand() == [("b", "A"), ("a", "B")]
    assert "further questions here show them too" in views_contest.heads(talk, contestants, "en")
    cells = re.findall(r'<b class="letter">(.)</b><span class="name">(.)', views_chat.turns(talk, 0, 1, "en"))
    assert [letter for letter, _ in cells] == ["A", "B"]


def test_a_blind_turn_tells_nothing_of_its_models() -> None:
    talk = talk_of({"a": "one answer", "b": "another"})
    talk.blind, talk.order = True, ["b", "a"]
    for each in talk.turns[0].replies.values():
        each.score = 1.5
    shown = views_chat.turns(talk, 0, 1, "en")
    assert shown.index("another") < shown.index("one answer")
    for word in ("base", "sft", "aaaa", "1.5", "tokens"):
        assert word not in text_of(shown)
    failed = talk.turns[0].replies["b"]
    failed.error = "The adapter sft does not fit."
    assert "sft" not in views_chat.turns(talk, 0, 1, "en") + markdown(talk)
    assert "No answer from this one" in views_chat.turns(talk, 0, 1, "en")
    failed.anonymous = True
    assert failed.error in views_chat.turns(talk, 0, 1, "en")
    failed.anonymous, talk.revealed = False, True
    shown = text_of(views_chat.turns(talk, 0, 1, "en"))
    assert failed.error in shown
    failed.error = ""
    shown = text_of(views_chat.turns(talk, 0, 1, "en"))
    assert "sft" in shown
    assert "reward 1.5" in shown


def test_the_best_reward_is_marked_and_a_failure_told_in_place() -> None:
    talk = talk_of({"a": "A", "b": "B", "c": "C"}, panes=3)
    a, b, c = talk.turns[0].replies.values()
    a.score, b.score, c.judge_error = -1.25, 0.5, "no head"
    cells = views_chat.turns(talk, 0, 1, "en").split("<section")[1:]
    assert ["reward best" in cell for cell in cells] == [False, True, False]
    assert "no head" in cells[2]
    b.score = None
    assert "reward best" not in views_chat.turns(talk, 0, 1, "en")  # one alone is no best


def test_two_are_voted_left_and_right_and_more_by_their_letters() -> None:
    two = views_chat.turns(talk_of({"a": "A", "b": "B"}), 0, 1, "en")
    assert re.findall(r'data-choice="(\w+)"', two) == ["a", "b", "tie", "bad"]
    assert [word in two for word in ("Left", "Right", "Both bad")] == [True, True, True]
    talk = talk_of({"a": "A", "b": "B", "c": "C"}, panes=3)
    talk.turns[0].replies["b"].error = "failed"
    talk.turns[0].replies["b"].made = None
    three = views_chat.turns(talk, 0, 1, "en")
    assert re.findall(r'data-choice="(\w+)"', three) == ["a", "c", "tie", "bad"]
    assert "C is best" in three


def test_provenance_names_both_hashes() -> None:
    facts = made(adapter="f").model_copy(update={"finish": "length", "tokens": 12, "rate": 3.0})
    said = views_chat.provenance(reply("x").model_copy(update={"made": facts}), "en")
    assert "a" * 12 in said
    assert "f" * 12 in said
    assert "length limit" in said
    assert "no adapter" in views_chat.provenance(reply("x").model_copy(update={"made": made()}), "en")


def test_sampling_is_read_by_its_one_declaration() -> None:
    texts = [str(value) for value in SAMPLING.values()]
    expected = {"max_tokens" if name == "max_new_tokens" else name: value for name, value in SAMPLING.items()}
    assert read_sampling(texts, "en") == (expected, "")
    assert read_sampling([""] * len(texts), "en") == read_sampling(texts, "en")
    found, said = read_sampling(["9", *texts[1:]], "zh")
    assert found == {}
    assert said.startswith("温度")
    assert "≤ 2" in said


# -- whom it may ask --------------------------------------------------------------------------------------------------
def register(workspace: Workspace, folder: Path, name: str) -> None:
    (workspace.models_dir / name).mkdir()
    card = describe(folder, name, "folder", str(folder), weights=[], points_to=str(folder))
    write_card(workspace.models_dir / name, card)


@pytest.fixture
def place(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> Iterator[Workspace]:
    """A workspace with two bases of other weights, an adapter of each, and a run of full tuning."""
    import torch
    from transformers import AutoModelForCausalLM

    other = Path(shutil.copytree(tiny_model, tmp_path / "other-llama"))
    model = AutoModelForCausalLM.from_pretrained(other, dtype=torch.float32)
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(-1.3)
    model.save_pretrained(other)
    register(workspace, tiny_model, "tiny")
    register(workspace, other, "other")
    make_run(workspace, tiny_model, name="tuned", steps=(2, 4))
    make_run(workspace, other, name="of the other", seed=3)
    make_whole_run(workspace, other, name="whole")
    yield workspace
    stop_server(workspace)


def named(workspace: Workspace, name: str) -> RunDir:
    return next(run for run in workspace.runs() if run.config()["run"]["name"] == name)


def test_adapters_sit_on_their_own_base_and_whole_models_alone(place: Workspace, tiny_model: Path) -> None:
    contestants = Contestants(place, Reader(place))
    tuned, other, whole = (named(place, name) for name in ("tuned", "of the other", "whole"))
    assert contestants.seat("tiny") == Seat("tiny", BASE)
    assert contestants.seat(tuned.id) == Seat(str(tiny_model), tuned.id)
    assert contestants.seat(f"{tuned.id}:step-2").model == f"{tuned.id}:step-2"
    assert Path(contestants.seat(other.id).base).name == "other-llama"
    assert contestants.seat(whole.id) == Seat(whole.id, BASE)
    assert contestants.name(f"{tuned.id}:best", "en") == "tuned · best checkpoint"
    assert contestants.about(tuned.id, "en") == "on tiny"
    assert contestants.about(other.id, "en") == "on other"
    assert contestants.about(whole.id, "en") == "whole model"
    assert contestants.beside_base(whole.id) == ["", whole.id]  # nothing lies beneath it
    assert contestants.first() == contestants.beside_base(place.runs()[0].id)  # the newest
    assert contestants.beside_base(tuned.id) == ["tiny", tuned.id]


def test_a_run_that_was_deleted_is_no_base_model(place: Workspace) -> None:
    contestants = Contestants(place, Reader(place))
    for gone in ("ppo-20260101-000000-0a1b", "ppo-20260101-000000-0a1b:best"):
        assert contestants.about(gone, "en") == "This run is no longer in the workspace."
        with pytest.raises(GalenError) as refused:
            contestants.seat(gone)
        assert refused.value.code == "run.not_found"


def test_models_come_first_in_the_list_then_the_newest_runs(place: Workspace) -> None:
    contestants = Contestants(place, Reader(place))
    groups = contestants.groups("en")
    assert [heading for heading, _ in groups] == ["Models", "Runs, newest first"]
    assert {value for _, value in groups[0][1]} == {"tiny", "other"}
    assert [value for _, value in groups[1][1]] == [run.id for run in place.runs()]
    tuned = named(place, "tuned")
    assert [value for _, value in contestants.weights(tuned.id, "en")] == ["output", "best", "last", "step-2", "step-4"]
    assert contestants.chosen(tuned.id, "step-2") == f"{tuned.id}:step-2"
    assert contestants.chosen(f"{tuned.id}:step-2", "step-9") == tuned.id  # there is none: what it delivered


def test_nothing_outside_the_workspace_can_be_asked(place: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    contestants = Contestants(place, Reader(place))
    reward = named(place, "tuned")
    for text in ("/etc", "../..", str(tmp_path), f"{reward.id}:../x", "nobody"):
        with pytest.raises((InputError, ModelError)):
            contestants.seat(text)
    for text in ("x" * 300, "/" + "x/" * 3000, "nul\0", "half \ud83d"):  # what no file can be called
        with pytest.raises(ModelError, match="There is no model"):
            contestants.seat(text)
        assert contestants.chosen(text) == contestants.name(text, "en") == text
    with pytest.raises(InputError, match="outside"):
        contestants.seat(str(tmp_path))
    adapter = make_adapter(tiny_model, place.path / "adapter")
    assert contestants.seat(str(adapter)) == Seat(str(tiny_model), str(adapter))
    manifest = reward.manifest()
    assert isinstance(manifest, Manifest)
    write_record(reward.manifest_file, manifest.model_copy(update={"kind": "reward"}))
    with pytest.raises(ModelError, match="scores"):
        contestants.seat(reward.id)


# -- answers ----------------------------------------------------------------------------------------------------------
def asked(place: Workspace, models: list[str], question: str = "ba be", *, judge: str = "", **sampling: Any) -> Talk:
    """A conversation of one turn, answered by a real server in fp32."""
    talk = new_talk(models)
    begin_turn(talk, Turn(id="t", question=question, sampling={**SETTINGS, **sampling}))
    answer(place, talk, 0, judge=judge)
    return talk


def answer(place: Workspace, talk: Talk, at: int, cancel: threading.Event | None = None, judge: str = "") -> None:
    serving = {"device": "cpu", "dtype": "fp32"}
    cancel, contestants = cancel or threading.Event(), Contestants(place, Reader(place))
    answers = Answers(contestants, talk, at, judge=judge, serving=serving, cancel=cancel, lang="en")
    for _ in answers.follow():
        pass


@pytest.mark.slow
def test_a_pane_says_the_same_alone_and_beside_others(place: Workspace) -> None:
    tuned = named(place, "tuned")
    models = ["tiny", tuned.id, f"{tuned.id}:step-2", f"{tuned.id}:step-4"]
    together = asked(place, models, temperature=1.6, max_tokens=40).turns[0].replies.values()
    alone = [asked(place, [model], temperature=1.6, max_tokens=40).turns[0].replies["a"] for model in models]
    assert [each.text for each in together] == [each.text for each in alone]
    assert len({each.text for each in alone}) == 4
    assert len({each.made.adapter_sha256 for each in alone}) == 4
    assert all(each.finished for each in alone)


@pytest.mark.slow
def test_an_adapter_of_another_base_brings_its_own_and_a_failure_stays_in_its_pane(place: Workspace) -> None:
    tuned, other, whole = (named(place, name) for name in ("tuned", "of the other", "whole"))
    talk = asked(place, ["tiny", other.id, whole.id, "gone-20260101-000000-abcd"])
    replies = talk.turns[0].replies
    assert replies["a"].finished
    assert replies["b"].finished
    assert replies["b"].made.base_sha256 != replies["a"].made.base_sha256
    assert replies["c"].made.base_sha256 == replies["b"].made.base_sha256
    assert "gone-20260101" in replies["d"].error
    assert not any(each.live or each.waiting for each in replies.values())
    again = asked(place, ["tiny", tuned.id, other.id])  # both servers are there still
    assert again.turns[0].replies["a"].text == replies["a"].text


@pytest.mark.slow
def test_a_conversation_that_is_too_long_is_told_in_the_pane(place: Workspace) -> None:
    talk = asked(place, ["tiny"], "ba " * 700)
    assert "512" in talk.turns[0].replies["a"].error
    assert talk.turns[0].replies["a"].anonymous
    begin_turn(talk, Turn(id="u", question="ba", sampling=SETTINGS))
    answer(place, talk, 1)  # what was refused is no part of the conversation
    assert talk.turns[1].replies["a"].finished


@pytest.mark.slow
def test_whoever_stops_while_a_model_is_loaded_waits_for_nothing(place: Workspace) -> None:
    talk, cancel = new_talk(["tiny"]), threading.Event()
    begin_turn(talk, Turn(id="t", question="ba", sampling=SETTINGS))
    cancel.set()
    start = time.monotonic()
    answer(place, talk, 0, cancel)
    assert time.monotonic() - start < 3
    assert talk.turns[0].replies["a"].stopped


@pytest.mark.slow
def test_a_reward_run_scores_what_was_answered(place: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "pairs.jsonl", pair_rows(12))
    judge = start(reward_recipe, place, tiny_model, data, "schedule.max_steps=2", "optim.learning_rate=2e-2")
    contestants = Contestants(place, Reader(place))
    assert judge.id in [value for _, value in contestants.rewards("en")]
    talk = asked(place, ["tiny", named(place, "of the other").id], judge=judge.id)
    scores = [each.score for each in talk.turns[0].replies.values()]
    assert len({*scores}) == 2
    assert None not in scores
    begin_turn(talk, Turn(id="u", question="be", sampling=SETTINGS))
    answer(place, talk, 1, judge="gone-20260101-000000-abcd")  # the answers stand, and beneath them why no score does
    for each in talk.turns[1].replies.values():
        assert each.finished
        assert "gone-20260101" in each.judge_error
    serving = {"device": "cpu", "dtype": "fp32"}
    judging = Judging(
        contestants, talk, range(2), judge.id, serving=serving, cancel=threading.Event(), lang="en"
    )  # chosen afterwards
    assert len(judging.replies) == 2
    for _ in judging.follow():
        pass
    assert [each.score for each in talk.turns[0].replies.values()] == scores
    assert None not in [each.score for each in talk.turns[1].replies.values()]


# -- the chat alone ---------------------------------------------------------------------------------------------------
def options(*words: str) -> Any:
    from core.configs.files import read_settings
    from core.serving.options import Weights

    return read_settings(Weights, words)


def test_the_chat_alone_offers_what_was_named(place: Workspace, tiny_model: Path) -> None:
    tuned = named(place, "tuned")
    both = check_models(place, options("base_model=tiny", f"lora_model=base,{tuned.id}"))
    assert (both.only, both.panes) == (("tiny", tuned.id), ("tiny", tuned.id))
    one = check_models(place, options(f"lora_model={tuned.id}:step-2"))
    assert one.panes == (f"{tuned.id}:step-2",)
    assert one.only == (f"{tuned.id}:step-2", str(tiny_model))
    contestants = Contestants(place, Reader(place), one.only, one.panes)
    assert [value for _, value in contestants.groups("en")[0][1]] == list(one.only)
    assert contestants.weights(tuned.id, "en") == []  # no other weights of it
    with pytest.raises(InputError, match="cannot be asked here"):
        contestants.seat("other")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["base_model=nobody"], "model.unknown"),
        (["lora_model=nobody"], "model.unknown"),
        (["base_model=tiny", "lora_model=of the other"], "model.adapter_other_base"),
        (["lora_model=base,tuned,tuned:best,tuned:last,whole"], "chat.too_many"),
        (["base_model=tiny", "model_type=bloom"], "model.type_differs"),
    ],
)
def test_models_that_cannot_be_shown_are_told_at_the_start(place: Workspace, words: list[str], code: str) -> None:
    with pytest.raises(GalenError) as error:
        check_models(place, options(*words))
    assert error.value.code == code


def test_the_chat_alone_does_not_start_with_what_cannot_be_shown(
    place: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(run_webui.PASSWORD, raising=False)
    for words in (["base_model=nobody"], ["base=tiny"], ["tiny"]):
        assert run_webui.main(["--workspace", str(place.path), "--chat", *words]) == 2
        assert capsys.readouterr().err.startswith("error: ")
    assert run_webui.main(["--workspace", str(place.path), "--host", "0.0.0.0", "--chat", "base_model=tiny"]) == 2
    assert "GALEN_PASSWORD" in capsys.readouterr().err
