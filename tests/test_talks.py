"""A conversation with several panes as data: histories, blind order, what is read back, saving, Markdown."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from core import talks
from core.errors import InputError
from core.talks import Made, Reply, Talk, Turn, begin_turn, fence, markdown, messages, new_talk, read_talk, votable
from core.workspace import Workspace

EVIL = "<script>alert(1)</script>\r\n# *a* `b` ``` </think> 糖尿病"


def made(letter: str = "a", adapter: str | None = None) -> Made:
    sha256 = adapter * 64 if adapter else None
    return Made(base="b", base_sha256=letter * 64, adapter=adapter, adapter_sha256=sha256, finish="stop", seed=7)


def reply(text: str, name: str = "model", **more: object) -> Reply:
    return Reply(model=name, name=name, text=text, made=made(adapter=name[0] if name != "base" else None), **more)


def talk_of(*turns: dict[str, str], panes: int = 2) -> Talk:
    """Turns with the answers of the panes `a`, `b`, …: {"a": text}."""
    talk = new_talk(["base", "sft", "ppo", "dpo"][:panes])
    for number, said in enumerate(turns):
        begin_turn(talk, Turn(id=f"t{number}", question=f"q{number}", sampling={"seed": 42}))
        names = {pane.id: pane.model for pane in talk.panes}
        talk.turns[-1].replies = {pane: reply(text, names[pane]) for pane, text in said.items()}
    return talk


# -- histories --------------------------------------------------------------------------------------------------------
def test_each_pane_has_its_own_history_of_the_turns_it_answered() -> None:
    talk = talk_of({"a": "A0", "b": "B0"}, {"a": "A1"}, {})
    talk.turns[2].system = "Be brief."
    talk.turns[0].replies["b"].stopped = True  # what was said until then has been said
    told = [message["content"] for message in messages(talk, 2, "a")]
    assert told == ["Be brief.", "q0", "A0", "q1", "A1", "q2"]
    assert [message["content"] for message in messages(talk, 2, "b")] == ["Be brief.", "q0", "B0", "q2"]
    talk.turns[0].replies["b"].error = "gone"
    assert [message["role"] for message in messages(talk, 2, "b")] == ["system", "user"]


def test_a_pane_that_comes_later_begins_without_a_history() -> None:
    talk = talk_of({"a": "A0", "b": "B0"})
    talk.panes.remove(talk.pane("b"))
    assert talks.add_pane(talk, "ppo").id == "b"  # its letter is free again, and what stood there is another model's
    assert messages(talk, 0, "b") == [{"role": "user", "content": "q0"}]
    assert "b" not in talk.turns[0].replies
    while len(talk.panes) < talks.MOST_PANES:
        talks.add_pane(talk)
    assert talks.add_pane(talk) is None


def test_a_blind_conversation_shuffles_once_and_hides_until_it_is_revealed() -> None:
    orders = set()
    for _ in range(60):
        talk = new_talk(["base", "sft"], blind=True)
        assert not talk.hidden  # nothing was asked yet: the panes may be chosen
        begin_turn(talk, Turn(id="t", question="q"))
        assert talk.hidden
        order = [pane.id for pane in talk.shown()]
        begin_turn(talk, Turn(id="u", question="q"))
        assert [pane.id for pane in talk.shown()] == order
        orders.add(tuple(order))
    assert orders == {("a", "b"), ("b", "a")}
    talk.revealed = True
    assert not talk.hidden
    assert [pane.id for pane in talk.shown()] == order


def test_only_finished_answers_can_be_compared() -> None:
    talk = talk_of({"a": "A", "b": "B", "c": "C"}, panes=3)
    turn = talk.turns[0]
    assert [pane.id for pane in votable(talk, turn)] == ["a", "b", "c"]
    turn.replies["b"].text = " \n"
    assert [pane.id for pane in votable(talk, turn)] == ["a", "c"]
    turn.replies["a"].made = None  # stopped
    assert votable(talk, turn) == []
    turn.replies["a"] = reply("A", live=True)
    turn.replies["b"].text = "B"
    assert votable(talk, turn) == []


# -- reading ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "value",
    [None, [], "x", {}, {"id": "x", "panes": [{"id": "a"}, {"id": "a"}]}, {"id": "x", "turns": [{"replies": 3}]},
     {"id": "x", "panes": [{"id": name} for name in "abcde"]}, [{"question": "of an older page", "base": {}}]],
)  # fmt: skip
def test_what_is_no_conversation_becomes_an_empty_one(value: object) -> None:
    talk = read_talk(value)
    assert (talk.turns, talk.panes) == ([], [])
    assert talk.id


def test_what_was_under_way_is_over_when_it_is_read_again() -> None:
    talk = talk_of({"a": "half an ans", "b": ""})
    talk.turns[0].replies["a"].live = True
    talk.turns[0].replies["a"].made = None
    talk.turns[0].replies["b"].judge = "reward-run"
    again = read_talk(json.loads(talk.model_dump_json()))
    assert again.turns[0].replies["a"].stopped
    assert not again.turns[0].replies["a"].live
    assert not again.turns[0].replies["b"].judging


# -- saving -----------------------------------------------------------------------------------------------------------
def test_a_conversation_is_saved_listed_opened_and_deleted(workspace: Workspace) -> None:
    talk = talk_of({"a": EVIL, "b": "B"})
    with pytest.raises(InputError, match="nothing to save"):
        talks.save(workspace, new_talk(["base"]), "empty")
    talks.save(workspace, talk, "发烧 1")
    assert talks.load(workspace, "发烧 1") == talk
    (each,) = talks.saved(workspace)
    assert (each.name, each.turns, each.models) == ("发烧 1", 1, ("base", "sft"))
    talk.turns[0].vote = "a"
    talks.save(workspace, talk, "发烧 1")  # the same conversation goes on
    assert talks.load(workspace, "发烧 1").turns[0].vote == "a"
    with pytest.raises(InputError, match="Another conversation is saved"):
        talks.save(workspace, talk_of({"a": "A"}), "发烧 1")
    assert talks.load(workspace, "发烧 1") == talk
    with ThreadPoolExecutor(8) as pool:  # in as many tabs
        list(pool.map(lambda _: talks.save(workspace, talk, "发烧 1"), range(64)))
    assert [path.name for path in workspace.chats_dir.iterdir()] == ["发烧 1.json"]
    talks.forget(workspace, "发烧 1")
    assert talks.saved(workspace) == []
    with pytest.raises(InputError, match="no saved conversation"):
        talks.load(workspace, "发烧 1")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "x" * 200])
def test_a_name_never_leads_out_of_the_folder(workspace: Workspace, name: str) -> None:
    with pytest.raises(InputError):
        talks.save(workspace, talk_of({"a": "A"}), name)
    for act in (talks.load, talks.forget):
        with pytest.raises(InputError):
            act(workspace, name)
    assert not workspace.chats_dir.exists()


def test_files_that_hold_no_conversation_are_left_alone(workspace: Workspace) -> None:
    workspace.chats_dir.mkdir()
    (workspace.chats_dir / "mine.json").write_text("{")
    assert talks.saved(workspace) == []
    with pytest.raises(InputError, match="Another conversation"):
        talks.save(workspace, talk_of({"a": "A"}), "mine")
    assert (workspace.chats_dir / "mine.json").read_text() == "{"


def test_a_name_is_made_of_the_first_question() -> None:
    talk = talk_of({"a": "A"})
    talk.turns[0].question = "  一岁宝宝/发烧能吃啥药？ <b> " + "x" * 90
    assert talks.name_for(talk).startswith("一岁宝宝 发烧能吃啥药")
    assert len(talks.name_for(talk)) <= 40
    talk.turns[0].question = "???"
    assert talks.name_for(talk)


# -- Markdown ---------------------------------------------------------------------------------------------------------
def test_markdown_keeps_every_text_as_it_is() -> None:
    talk = talk_of({"a": EVIL, "b": "````\n`````"})
    talk.turns[0].replies["a"].name = "x*[y]_<b>"
    said = markdown(talk)
    assert fence(EVIL) in said
    assert "``````text\n````\n`````\n``````" in said
    assert r"A · x\*\[y\]\_\<b\> · aaaaaaaaaaaa · seed 7" in said


def test_markdown_of_a_blind_conversation_tells_no_names() -> None:
    talk = talk_of({"a": "A", "b": "B"})
    talk.blind = True
    assert "sft" not in markdown(talk)
    assert "### B" in markdown(talk)
    talk.revealed, talk.turns[0].vote = True, "b"
    assert "sft" in markdown(talk)
    assert markdown(talk).count("★") == 1
