"""New rows: questions with answers, from examples (Self-Instruct, arXiv:2212.10560) or from documents.

1. a round of prompts: each shows examples drawn by (seed, request), or one document
2. ask; replies are kept, so a resumed run comes by the same rounds without asking again
3. of the questions that came, in the order of the requests, drop those that are nearly the same as one that is
   there: a row of the seeds, of `new.against`, or an earlier new one
4. rows that stay may be examples of the next round; again, until there are enough, the documents are used up, or
   a round brings nothing new
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.annotating.asking import Asking
from core.annotating.prompts import examples, fill, form_of, spoken_in, transcript
from core.annotating.replies import Reply
from core.annotating.rows import Dropped, nonsense
from core.annotating.tasks import parts
from core.annotating.verdicts import read
from core.configs.annotate import NewRows, Task
from core.configs.clean_steps import Near
from core.data.kinds import Kind
from core.data.recipe.rows import StoredRows
from core.data.steps.base import Drop, Item, Job
from core.data.steps.near import near

ROUND = 50  # requests at most
DRAWN = 1_000_151  # keeps the examples apart from other draws of a seed
Pair = tuple[str, str]


class Questions:
    """Questions as the rows that `core.data.steps.near` compares; `items` may grow between two comparisons."""

    kind: Kind = "text"

    def __init__(self) -> None:
        self.items: list[Item] = []

    def __len__(self) -> int:
        return len(self.items)

    def batches(self, size: int = 2000) -> Iterator[list[Item]]:
        for start in range(0, len(self.items), size):
            yield self.items[start : start + size]

    def take(self, positions: Sequence[int] | NDArray[np.int64]) -> list[Item]:
        return [self.items[int(position)] for position in positions]

    def column(self, name: str) -> NDArray[Any]:
        return np.array([getattr(item, name) for item in self.items], dtype=np.int64)

    def sources(self) -> tuple[list[str], NDArray[np.int32]]:
        names = list(dict.fromkeys(item.source for item in self.items))
        return names, np.array([names.index(item.source) for item in self.items], dtype=np.int32)


@dataclass
class NewRowsFound:
    """What has come so far. `spare`: rows that came when there were enough."""

    rows: list[Item] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    requests: int = 0
    spare: int = 0


class Maker:
    """Steps 1 to 4. `seeds`: conversations or documents; `known`: the questions that are there (`question_item`)."""

    def __init__(
        self,
        task: Task,
        settings: NewRows,
        seeds: StoredRows,
        known: Iterable[Item],
        *,
        seed: int,
        output: str,
        job: Job,
    ) -> None:
        self.task, self.settings, self.seeds = task, settings, seeds
        self.seed, self.output, self.job = seed, output, job
        self.found = NewRowsFound()
        self.pool: list[Pair] = []  # the seeds' questions with their answers
        self.there = Questions()
        self.there.items.extend(known)
        if seeds.kind != "text":
            for batch in seeds.batches():
                self._take_in(batch)

    def _take_in(self, items: Iterable[Item]) -> None:
        for item in items:
            asked, answers = parts(self.seeds.kind, item.row)
            self.pool.append((transcript(asked), answers[0]))
            self.there.items.append(question_item(asked[-1]["content"], item.line, item.source))

    def make(self, asking: Asking, tell: Callable[[int, int], None]) -> NewRowsFound:
        """All rounds. `tell(rows made, rows dropped)`. Raises what `asking.ask` raises."""
        found = self.found
        while len(found.rows) < self.settings.rows:
            before = len(found.rows)
            round_ = self._round()
            if not round_:
                break
            replies: dict[str, Reply] = {}
            for key, reply in asking.ask({str(number): prompt for number, (prompt, _) in round_.items()}, understood):
                replies[key] = reply
                tell(before, len(found.dropped))
            found.requests += len(round_)
            candidates = []
            for number, (_, origin) in round_.items():
                candidates += self._candidates(replies[str(number)], origin)
            self._accept(candidates)
            tell(len(found.rows), len(found.dropped))
            if self.seeds.kind != "text" and len(found.rows) == before:
                break
        return found

    # -- 1 ------------------------------------------------------------------------------------------------------------
    def _round(self) -> dict[int, tuple[str, Item]]:
        """The next prompts by the number of the request, each with the row that a failure is reported of."""
        wanted = -(-(self.settings.rows - len(self.found.rows)) // self.settings.each)
        first, size = self.found.requests, min(ROUND, max(1, wanted))
        if self.seeds.kind == "text":
            numbers = np.arange(first, min(first + size, len(self.seeds)))
            documents = self.seeds.take(numbers) if len(numbers) else []
            return {first + at: (self._about(item), item) for at, item in enumerate(documents)}
        turns = [item.row["messages"] for item in self.found.rows]
        made = [(asked["content"], answered["content"]) for asked, answered in turns]
        return {number: self._from_examples(number, made) for number in range(first, first + size)}

    def _about(self, item: Item) -> str:
        text = item.row["text"]
        form = form_of(self.task, "documents", spoken_in(text))
        return fill(form, {"document": text, "count": str(self.settings.each)})

    def _from_examples(self, number: int, made: Sequence[Pair]) -> tuple[str, Item]:
        """Examples from the seeds, and one of the new rows as soon as there are any."""
        rng = np.random.default_rng((self.seed, number, DRAWN))
        few = min(self.settings.examples, len(self.pool))
        drawn = [self.pool[place] for place in rng.permutation(len(self.pool))[:few].tolist()]
        if made and few > 1:
            drawn[-1] = made[int(rng.integers(len(made)))]
        language = spoken_in(*(text for pair in drawn for text in pair))
        form = form_of(self.task, "rows", language)
        prompt = fill(form, {"examples": examples(drawn, language), "count": str(self.settings.each)})
        return prompt, Item({"text": prompt}, number + 1, self.output)

    # -- 3 ------------------------------------------------------------------------------------------------------------
    def _candidates(self, reply: Reply, origin: Item) -> list[Item]:
        said = None if reply.failed else read("instruct", reply.text)
        if said is None or said.pairs is None:
            drop = Drop("annotate.failed", {"detail": reply.failed}) if reply.failed else nonsense(reply)
            self.found.dropped.append(Dropped(origin, drop))
            return []
        source = origin.source if self.seeds.kind == "text" else ""
        return [
            Item({"messages": [_turn("user", asked), _turn("assistant", answered)]}, origin.line, source)
            for asked, answered in said.pairs[: self.settings.each]
        ]

    def _accept(self, candidates: Sequence[Item]) -> None:
        """Take what is new among them, in their order."""
        start = len(self.there)
        for at, item in enumerate(candidates):
            place = len(self.found.rows) + at + 1
            self.there.items.append(question_item(item.row["messages"][0]["content"], place, self.output))
        reasons = near(Near(threshold=self.settings.threshold), self.there, self.job).dropped
        going = set(reasons)
        stay = []
        for at, item in enumerate(candidates):
            if start + at in going:
                self.found.dropped.append(Dropped(item, reasons[start + at]))
            elif len(self.found.rows) == self.settings.rows:
                self.found.spare += 1
            else:
                self.found.rows.append(item)
                stay.append(self.there.items[start + at])
        del self.there.items[start:]
        for place, item in enumerate(stay, len(self.found.rows) - len(stay) + 1):
            item.line = place
        self.there.items += stay


def understood(text: str) -> bool:
    return read("instruct", text) is not None


def question_item(question: str, line: int, source: str) -> Item:
    return Item({"text": question}, line, source)


def known_questions(rows: StoredRows) -> Iterator[Item]:
    """The questions of rows of any kind that has some."""
    for batch in rows.batches():
        for item in batch:
            asked, _ = parts(rows.kind, item.row)
            yield question_item(asked[-1]["content"], item.line, item.source)


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
