"""Asking so that nothing is asked twice: every reply becomes a line of a file, which a resumed run reads first.

    asking = Asking(endpoint, run.path / "replies.jsonl", limit=2000)
    for key, reply in asking.ask({"7": "Mark this: …"}, understood):
        …
    asking.usage            prompts, failures and tokens so far, earlier attempts and all

    a line   {"key": …, "text": … | null, "tokens_in": n, "tokens_out": n}, or with "failed" in the place of "text"

What failed is asked for again by the next attempt; nonsense is not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from core.annotating.replies import Annotator, Prompt, Reply, Understood, Usage, something
from core.rundir import append_jsonl, read_jsonl


class Asking:
    """limit: how many prompts the annotator is asked, over all attempts; None: any number.

    patience: after how many failures in a row that are not a prompt's own it counts as down, though it has replied
    before; None: it never does.
    """

    def __init__(
        self, annotator: Annotator, kept: Path, *, limit: int | None = None, patience: int | None = None
    ) -> None:
        self.annotator, self.kept, self.limit, self.patience = annotator, kept, limit, patience
        self.usage = Usage()
        self._known: dict[str, Reply] = {}
        for row in read_jsonl(kept)[0]:
            self._remember(row)

    @property
    def spent(self) -> bool:
        """Whether it has been asked as much as it may be."""
        return self.limit is not None and self.usage.asked >= self.limit

    def key_of(self, prompt: Prompt) -> str:
        """The same for the same prompt, put to the same annotator in the same way."""
        text = prompt if isinstance(prompt, str) else orjson.dumps(list(prompt)).decode()
        return hashlib.sha256("\0".join([self.annotator.identity, text]).encode()).hexdigest()

    def known(self, prompt: Prompt) -> Reply | None:
        """What was said to this prompt; None where it was not asked yet, or got no reply."""
        return self._known.get(self.key_of(prompt))

    def ask(self, prompts: Mapping[str, Prompt], understood: Understood = something) -> Iterator[tuple[str, Reply]]:
        """A Reply for each prompt, with its key: what is known first, then as they come; none beyond the limit.

        Equal prompts are asked once. Raises the annotator's `down` where none gets a reply, after the first `at_once`
        that failed, or where `patience` ends; and what `annotator.ask` raises.
        """
        wanted: dict[str, list[str]] = {}
        for name, prompt in prompts.items():
            wanted.setdefault(self.key_of(prompt), []).append(name)
        known = [key for key in wanted if key in self._known]
        for key in known:
            yield from ((name, self._known[key]) for name in wanted[key])
        new = [key for key in wanted if key not in self._known]
        new = new if self.limit is None else new[: max(0, self.limit - self.usage.asked)]
        told = self._new({key: prompts[wanted[key][0]] for key in new}, understood, replied=bool(known))
        for key, reply in told:
            yield from ((name, reply) for name in wanted[key])

    def _new(
        self, prompts: Mapping[str, Prompt], understood: Understood, *, replied: bool
    ) -> Iterator[tuple[str, Reply]]:
        failures = in_a_row = 0
        last = ""
        for key, reply in self.annotator.ask(prompts, understood):
            self._keep(key, reply)
            if reply.failed:
                failures, last = failures + 1, reply.failed
                in_a_row += not reply.refused
                if not replied and failures >= self.annotator.at_once:
                    break
                if self.patience is not None and in_a_row >= self.patience:
                    raise self.annotator.down(last)
            else:
                replied, in_a_row = True, 0
            yield key, reply
        if failures and not replied:
            raise self.annotator.down(last)

    def _keep(self, key: str, reply: Reply) -> None:
        if not reply.reached:
            return
        said: dict[str, Any] = {"failed": reply.failed} if reply.failed else {"text": reply.text}
        row = {"key": key, **said, "tokens_in": reply.tokens_in, "tokens_out": reply.tokens_out}
        self._remember(row)
        append_jsonl(self.kept, row)

    def _remember(self, row: Mapping[str, Any]) -> None:
        reply = Reply(
            text=row.get("text"),
            tokens_in=row.get("tokens_in", 0),
            tokens_out=row.get("tokens_out", 0),
            failed=row.get("failed", ""),
        )
        self.usage.add(reply)
        if "key" in row and "text" in row:
            self._known[row["key"]] = reply
