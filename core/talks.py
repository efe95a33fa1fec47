"""A conversation with several models side by side, as data: what the Chat tab works on, and what it saves. Torch-free.

    chats/<name>.json     one saved conversation of a workspace, written whole or not at all

A pane is a place for one model; a turn is a question and the answers that the panes gave to it. Every pane has a
history of its own: its questions, and its own answers to them. No HTML here, and nobody is asked anything.
"""

from __future__ import annotations

import random
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core.data.store.building import full_disk_told
from core.errors import InputError
from core.records import Record
from core.rundir import read_record, write_record
from core.workspace import Workspace, check_name

MOST_PANES = 4
LETTERS = "ABCD"  # how the panes are called where their models are not named
TIE, BAD = "tie", "bad"  # votes; any other is the pane whose answer was better

Message = dict[str, str]  # {"role", "content"}


class Made(Record):
    """Which weights made an answer, and how. `adapter` is None for a base and for a whole model; `rate`: tokens/s;
    `first`: seconds until the server had the first token."""

    base: str
    base_sha256: str
    adapter: str | None = None
    adapter_sha256: str | None = None
    tokens: int = 0
    rate: float = 0.0
    finish: str = ""
    seed: int = 0
    first: float = 0.0


class Reply(Record):
    """What one pane answered. `model` and `name` are those that the pane had then; `asked`: when, in seconds since the
    epoch. `anonymous`: the error names no model. `made` is there once the answer has ended; `waiting`: its model is
    being loaded. `score` is what the reward run `judge` gave, `judge_error` why it gave none."""

    model: str = ""
    name: str = ""
    text: str = ""
    made: Made | None = None
    error: str = ""
    anonymous: bool = False
    live: bool = False
    waiting: bool = False
    stopped: bool = False
    asked: float = 0.0
    score: float | None = None
    judge: str = ""
    judge_error: str = ""

    @property
    def finished(self) -> bool:
        """Whether it ended by itself, with some text."""
        return self.made is not None and not self.live and bool(self.text.strip())

    @property
    def judging(self) -> bool:
        """Whether a reward run is at it."""
        return bool(self.judge) and self.score is None and not self.judge_error


class Turn(Record):
    """`id` is new whenever it is asked anew. sampling: the arguments of `stream_chat`, with the seed. vote: TIE, BAD or
    the pane that was better; empty: none."""

    id: str = ""
    question: str = ""
    system: str = ""
    template: str = ""
    sampling: dict[str, Any] = {}
    replies: dict[str, Reply] = {}
    vote: str = ""


class Pane(Record):
    """`model`: what `python -m core chat` understands as a base or a run; empty: none chosen yet."""

    id: str
    model: str = ""


class Talk(Record):
    """`order`: how a blind conversation stands, by panes; `revealed`: the names are shown all the same."""

    id: str = ""
    started: float = 0.0
    changed: int = 0
    panes: list[Pane] = []
    blind: bool = False
    revealed: bool = False
    order: list[str] = []
    turns: list[Turn] = []

    @property
    def hidden(self) -> bool:
        """Whether nobody is to see which pane is which."""
        return self.blind and bool(self.turns) and not self.revealed

    def hides(self, reply: Reply) -> bool:
        """Whether nobody is to read yet why there is no answer: it might say which model it is."""
        return bool(reply.error) and self.hidden and not reply.anonymous

    def shown(self) -> list[Pane]:
        """The panes that have a model, as they stand side by side."""
        chosen = [pane for pane in self.panes if pane.model]
        place = {pane: at for at, pane in enumerate(self.order)} if self.blind else {}
        return sorted(chosen, key=lambda pane: place.get(pane.id, len(place)))

    def pane(self, pane: str) -> Pane | None:
        return next((each for each in self.panes if each.id == pane), None)

    def place(self, turn: str) -> int | None:
        """Where the turn with this id stands."""
        return next((at for at, each in enumerate(self.turns) if each.id == turn), None)


def new_id() -> str:
    return secrets.token_hex(8)


def new_talk(models: Sequence[str], *, blind: bool = False) -> Talk:
    """An empty conversation with a pane for each of `models`."""
    panes = [Pane(id=name, model=model) for name, model in zip(LETTERS.lower(), models, strict=False)]
    return Talk(id=new_id(), started=time.time(), panes=panes, blind=blind)


def read_talk(value: Any) -> Talk:
    """The conversation that `value` (from a browser, or a file) holds; an empty one without panes where it holds none.

    What was under way when it was written is over.
    """
    try:
        talk = Talk.model_validate(value)
    except ValidationError:
        return new_talk([])
    if not talk.id or len({pane.id for pane in talk.panes}) < len(talk.panes) or len(talk.panes) > MOST_PANES:
        return new_talk([])
    for turn in talk.turns:
        for reply in turn.replies.values():
            reply.stopped = reply.stopped or reply.live
            reply.live = reply.waiting = False
            if reply.judging:
                reply.judge = ""
    return talk


def add_pane(talk: Talk, model: str = "") -> Pane | None:
    """One more pane, where there is room."""
    free = [name for name in LETTERS.lower() if talk.pane(name) is None]
    if not free or len(talk.panes) >= MOST_PANES:
        return None
    talk.panes.append(Pane(id=free[0], model=model))
    for turn in talk.turns:
        turn.replies.pop(free[0], None)  # of a pane of that name that was there before
    return talk.panes[-1]


def begin_turn(talk: Talk, turn: Turn) -> None:
    """Append a turn. The first one of a blind conversation shuffles its panes."""
    if talk.blind and not talk.turns:
        talk.order = [pane.id for pane in talk.panes]
        random.SystemRandom().shuffle(talk.order)
    talk.turns.append(turn)


def messages(talk: Talk, at: int, pane: str) -> list[Message]:
    """The conversation up to the question of turn `at` as one pane has seen it: its own answers, and only turns that
    it answered."""
    asked = talk.turns[at]
    told = [{"role": "system", "content": asked.system}] if asked.system.strip() else []
    for turn in talk.turns[:at]:
        reply = turn.replies.get(pane)
        if reply is not None and reply.text and not reply.error:
            told += [{"role": "user", "content": turn.question}, {"role": "assistant", "content": reply.text}]
    return [*told, {"role": "user", "content": asked.question}]


def votable(talk: Talk, turn: Turn) -> list[Pane]:
    """The panes whose answers can be compared, as they stand; empty where fewer than two are, or one still answers."""
    panes = talk.shown()
    if any(reply.live for reply in turn.replies.values()):
        return []
    found = [pane for pane in panes if pane.id in turn.replies and turn.replies[pane.id].finished]
    return found if len(found) > 1 else []


# -- saved conversations ----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Saved:
    """One line of the list. `when`: seconds since the epoch."""

    name: str
    when: float
    turns: int
    models: tuple[str, ...]


class _File(Record):
    """chats/<name>.json."""

    schema_version: int = 1
    saved: float
    talk: Talk


def save(workspace: Workspace, talk: Talk, name: str) -> Path:
    """Write `talk` under `name`; an earlier state of the same conversation is replaced.

    Raises InputError `name.bad`, `chat.nothing_said`, and `chat.name_taken` where another one is called so; DataError
    `data.disk_full`.
    """
    path = workspace.chats_dir / f"{check_name(name)}.json"
    if not talk.turns:
        raise InputError("chat.nothing_said")
    present = read_record(path, _File)
    if path.exists() and (present is None or present.talk.id != talk.id):
        raise InputError("chat.name_taken", name=name)
    path.parent.mkdir(exist_ok=True)
    file = _File(saved=time.time(), talk=talk)
    with full_disk_told(path.parent, len(file.model_dump_json())):
        write_record(path, file)
    return path


def saved(workspace: Workspace) -> list[Saved]:
    """The saved conversations, the newest first. Files that hold none are left out."""
    found = []
    for path in workspace.chats_dir.glob("*.json"):
        file = read_record(path, _File)
        if file is not None:
            named = dict.fromkeys(reply.name for turn in file.talk.turns for reply in turn.replies.values())
            found.append(Saved(path.stem, file.saved, len(file.talk.turns), tuple(filter(None, named))))
    return sorted(found, key=lambda each: (-each.when, each.name))


def load(workspace: Workspace, name: str) -> Talk:
    """Raises InputError `chat.not_saved`."""
    file = read_record(_path(workspace, name), _File)
    if file is None:
        raise InputError("chat.not_saved", name=name)
    return read_talk(file.talk.model_dump())


def forget(workspace: Workspace, name: str) -> None:
    """Remove a saved conversation. Raises InputError `chat.not_saved`."""
    path = _path(workspace, name)
    if not path.is_file():
        raise InputError("chat.not_saved", name=name)
    path.unlink()


def _path(workspace: Workspace, name: str) -> Path:
    if Path(name).name != name:
        raise InputError("chat.not_saved", name=name)
    return workspace.chats_dir / f"{name}.json"


def name_for(talk: Talk) -> str:
    """A name to save `talk` under: how its first question begins."""
    question = talk.turns[0].question if talk.turns else ""
    return re.sub(r"[^\w.+\- ]+", " ", question).strip(" .-+")[:40].strip(" .-+") or f"chat {talk.id[:4]}"


# -- Markdown ---------------------------------------------------------------------------------------------------------
def markdown(talk: Talk) -> str:
    """The conversation as a file for people: every text stands in a fence, so that it is shown as it is."""
    letters = dict(zip((pane.id for pane in talk.shown()), LETTERS, strict=False))
    parts = [f"# {time.strftime('%Y-%m-%d %H:%M', time.localtime(talk.started))}"]
    system = ""
    for number, turn in enumerate(talk.turns, 1):
        if turn.system != system:
            system = turn.system
            parts += ["**system**", fence(system)]
        parts += [f"## {number}", fence(turn.question)]
        for pane, letter in letters.items():
            reply = turn.replies.get(pane)
            if reply is not None:
                parts += [
                    f"### {_heading(talk, reply, letter, won=turn.vote == pane)}",
                    fence(reply.text if talk.hides(reply) else reply.error or reply.text),
                ]
        if turn.vote in (TIE, BAD):
            parts.append(f"*{turn.vote}*")
    return "\n\n".join(parts) + "\n"


def _heading(talk: Talk, reply: Reply, letter: str, *, won: bool) -> str:
    """Letter, model, what made the answer. Names keep no sign that Markdown would read."""
    name = "" if talk.hidden else re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", reply.name)
    made = "" if talk.hidden or reply.made is None else _made(reply.made)
    score = "" if reply.score is None else f"reward {reply.score:.3f}"
    return " · ".join(part for part in (letter, name, made, score, "★" if won else "") if part)


def _made(made: Made) -> str:
    adapter = f" + {made.adapter_sha256[:12]}" if made.adapter_sha256 else ""
    return f"{made.base_sha256[:12]}{adapter} · seed {made.seed}"


def fence(text: str) -> str:
    """`text` in a fence longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    mark = "`" * max(3, longest + 1)
    return f"{mark}text\n{text}\n{mark}"
