"""Votes on answers side by side: kept, counted as win rates, and made into preference rows. Torch-free.

    votes.jsonl            a line for each vote; of several on one turn the last one counts
    append(workspace, vote)
    win_rates(votes(workspace))                 who beat whom, how often, and how sure that is
    make_dataset(workspace)                     the dataset `chat-votes`, of the kind preference

A win rate is wins / (wins + losses): ties and "both bad" decide nothing, stand beside it, and give no rows either. Two
models are told apart by the hashes of their weights, so a run that was trained anew under an old name is another one.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import orjson
from pydantic import model_validator

from core.data.bring.importing import Order, import_files
from core.data.store.building import full_disk_told
from core.data.store.dataset import Dataset
from core.errors import DataError
from core.intervals import wilson
from core.records import Record
from core.rundir import read_jsonl
from core.talks import BAD, TIE, Message, Talk, Turn, messages, votable
from core.workspace import Workspace

DATASET = "chat-votes"

Verdict = Literal["better", "tie", "bad", "withdrawn"]


class Rated(Record):
    """One of the answers that were compared: who gave it, to which conversation (`prompt`), and what it says."""

    model: str
    name: str
    base: str
    base_sha256: str
    adapter: str | None = None
    adapter_sha256: str | None = None
    prompt: list[Message]
    text: str
    seed: int = 0
    score: float | None = None

    @property
    def identity(self) -> str:
        return f"{self.base_sha256}+{self.adapter_sha256 or ''}"


class Vote(Record):
    """One line. `answers` stand as they stood on the page, from the left; `winner`: which of them was better.

    blind: the names were hidden until this vote. time: seconds since the epoch.
    """

    talk: str
    turn: str
    time: float
    verdict: Verdict
    winner: int | None = None
    blind: bool = False
    sampling: dict[str, Any] = {}
    template: str = ""
    answers: list[Rated]

    @model_validator(mode="after")
    def _names_its_winner(self) -> Self:
        known = self.winner is not None and 0 <= self.winner < len(self.answers)
        if known != (self.verdict == "better"):
            raise ValueError("a better answer is one of the answers, and only then there is a winner")
        return self


def vote_on(talk: Talk, turn: Turn, choice: str) -> Vote | None:
    """The vote that `choice` (a pane, TIE, BAD; empty: none any more) is; None where the turn cannot be voted on."""
    panes = votable(talk, turn)
    names = [pane.id for pane in panes]
    if not panes or choice not in ("", TIE, BAD, *names):
        return None
    verdicts: dict[str, Verdict] = {"": "withdrawn", TIE: "tie", BAD: "bad"}
    at = talk.turns.index(turn)
    return Vote(
        talk=talk.id,
        turn=turn.id,
        time=time.time(),
        verdict=verdicts.get(choice, "better"),
        winner=names.index(choice) if choice in names else None,
        blind=talk.hidden,
        sampling=turn.sampling,
        template=turn.template,
        answers=[_rated(talk, at, name) for name in names],
    )


def _rated(talk: Talk, at: int, pane: str) -> Rated:
    reply = talk.turns[at].replies[pane]
    assert reply.made is not None  # `votable` asks for it
    return Rated(
        model=reply.model,
        name=reply.name,
        base=reply.made.base,
        base_sha256=reply.made.base_sha256,
        adapter=reply.made.adapter,
        adapter_sha256=reply.made.adapter_sha256,
        prompt=messages(talk, at, pane),
        text=reply.text,
        seed=reply.made.seed,
        score=reply.score,
    )


# -- the file ---------------------------------------------------------------------------------------------------------
def append(workspace: Workspace, vote: Vote) -> None:
    """Add a line, whole or not at all; other writers wait meanwhile. Raises DataError `data.disk_full`."""
    path = workspace.votes_file
    line = orjson.dumps(vote.model_dump(mode="json")) + b"\n"
    with full_disk_told(path.parent, len(line)), open(path, "a+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        end = os.fstat(file.fileno()).st_size
        torn = end > 0 and os.pread(file.fileno(), 1, end - 1) != b"\n"  # by a machine that went down
        data = b"\n" + line if torn else line
        try:
            if file.write(data) != len(data):
                raise OSError(28, "No space left on device")
        except OSError:
            file.truncate(end)
            raise


def votes(workspace: Workspace) -> list[Vote]:
    """Every vote that counts: the last on each turn, without those withdrawn; by the turns' first votes."""
    found: dict[tuple[str, str], Vote] = {}
    for row in read_jsonl(workspace.votes_file)[0]:
        try:
            vote = Vote.model_validate(row)
        except ValueError:
            continue
        found[vote.talk, vote.turn] = vote
    return [vote for vote in found.values() if vote.verdict != "withdrawn"]


# -- win rates --------------------------------------------------------------------------------------------------------
@dataclass
class Pairing:
    """How two models fared against each other; the first is the one that won more often. Counts of votes."""

    first: str
    second: str
    wins: int = 0
    losses: int = 0
    ties: int = 0
    bad: int = 0

    @property
    def decided(self) -> int:
        return self.wins + self.losses

    @property
    def votes(self) -> int:
        return self.decided + self.ties + self.bad

    @property
    def rate(self) -> float | None:
        """The first one's share of the decided votes; None where there are none."""
        return self.wins / self.decided if self.decided else None

    @property
    def interval(self) -> tuple[float, float] | None:
        return wilson(self.wins / self.decided, self.decided) if self.decided else None

    def turned(self) -> Pairing:
        return Pairing(self.second, self.first, self.losses, self.wins, self.ties, self.bad)

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "rate": self.rate, "interval": self.interval}


def win_rates(found: Iterable[Vote]) -> list[Pairing]:
    """One line for each two models that were compared, those with the most votes first.

    Where the best of several was chosen, it has beaten each of the others; these have not been compared. A vote counts
    once for two models, however many panes they had.
    """
    found = list(found)
    beaten: Counter[tuple[str, str]] = Counter()
    level: dict[str, Counter[frozenset[str]]] = {"tie": Counter(), "bad": Counter()}
    for vote in found:
        models = [answer.identity for answer in vote.answers]
        if vote.winner is not None:
            best = models[vote.winner]
            beaten.update((best, other) for other in {*models} - {best})
        else:
            level[vote.verdict].update({frozenset(two) for two in combinations(models, 2) if two[0] != two[1]})
    compared = dict.fromkeys([*map(frozenset, beaten), *level["tie"], *level["bad"]])
    names, made = _names(found), []
    for both in compared:
        one, other = sorted(both, key=lambda model: (names[model], model))
        pairing = Pairing(
            names[one], names[other], beaten[one, other], beaten[other, one], level["tie"][both], level["bad"][both]
        )
        made.append(pairing if pairing.wins >= pairing.losses else pairing.turned())
    return sorted(made, key=lambda each: -each.votes)


def _names(found: Sequence[Vote]) -> dict[str, str]:
    """How each model is called: by the newest of its names; with the beginning of its hash where two share one."""
    newest = {answer.identity: answer.name for vote in found for answer in vote.answers}
    alike = Counter(newest.values())
    return {
        model: name if alike[name] == 1 else f"{name} ({(model.partition('+')[2] or model)[:8]})"
        for model, name in newest.items()
    }


# -- preference rows --------------------------------------------------------------------------------------------------
class Left(NamedTuple):
    """Pairs that give no row: ties, both bad, answers to different histories, the same text twice."""

    ties: int = 0
    bad: int = 0
    histories: int = 0
    same: int = 0


@dataclass
class Pairs:
    """`rows` of the kind preference, and how many pairs were left out."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    left: Left = field(default_factory=Left)


def pairs(found: Iterable[Vote]) -> Pairs:
    """The chosen answer with each that it beat. Answers to different histories are no pair: the one would be learnt as
    an answer to what the other was told."""
    made, left = Pairs(), Counter[str]()
    for vote in found:
        if vote.winner is None:
            left["ties" if vote.verdict == "tie" else "bad"] += 1
            continue
        best = vote.answers[vote.winner]
        for at, other in enumerate(vote.answers):
            if at == vote.winner:
                continue
            if other.prompt != best.prompt:
                left["histories"] += 1
            elif other.text.strip() == best.text.strip():
                left["same"] += 1
            else:
                chosen, rejected = ([{"role": "assistant", "content": each.text}] for each in (best, other))
                made.rows.append({"prompt": best.prompt, "chosen": chosen, "rejected": rejected})
    made.left = Left(**left)
    return made


def write_pairs(found: Iterable[Vote], path: Path) -> Pairs:
    """Write the rows as JSONL. Raises DataError `votes.no_pairs`, and nothing is written."""
    made = pairs(found)
    if not made.rows:
        raise DataError("votes.no_pairs", **made.left._asdict())
    data = b"".join(orjson.dumps(row) + b"\n" for row in made.rows)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(3)}")
    try:
        with full_disk_told(path.parent, len(data)):
            temporary.write_bytes(data)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return made


def make_dataset(workspace: Workspace, name: str = DATASET) -> tuple[Dataset, Pairs]:
    """The votes up to now as a dataset: a new version where there are new rows, else the one that is there.

    What the doctor can mend is mended; rows that nobody could learn from, such as answers of broken characters, are
    dropped and lie beside it. Raises DataError `votes.no_pairs`, or as `import_files`.
    """
    folder = workspace.cache_dir / "votes"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{secrets.token_hex(4)}.jsonl"
    try:
        made = write_pairs(votes(workspace), path)
        order = Order(name, bad_rows="drop", repair=True, origin=workspace.votes_file.name)
        return import_files(workspace, [path], order), made
    finally:
        path.unlink(missing_ok=True)
