"""An AI judge: the model behind an OpenAI-compatible endpoint marks answers from 0 to 10. Torch-free.

    with AIJudge(config.rewards, cache, report.check_stop) as judge:
        judge.check()                     before anything else: does it answer?
        marks = judge.score(answers)      0 to 1 each, None where it gave no mark

Every answer that it was asked about becomes a line of the cache, so a resumed run does not ask again, and the limit
holds over all attempts. A key comes from GALEN_JUDGE_KEY; it is sent to the endpoint, and written nowhere.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson

from core.configs.ppo import Rewards
from core.errors import RunError
from core.rules import Answer
from core.rundir import append_jsonl, read_jsonl

KEY = "GALEN_JUDGE_KEY"
LOCAL = ("127.0.0.1", "localhost", "::1")  # never reached through a proxy
AT_ONCE = 4
RETRIES = 3
NONSENSE_RETRIES = 1
LONGEST_PAUSE = 30.0  # seconds before another try, whatever the endpoint asks for
CHECK_SECONDS = 5.0
POLL_SECONDS = 0.2
LARGEST_REPLY = 1 << 20  # bytes
BEST = 10.0
MARK = re.compile(r"-?(?:\d+(?:\.\d+)?|\.\d+)")
THOUGHTS = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)  # of a reasoning model; numbers in it are no marks
FILLED = re.compile(r"\{(question|answer|reference)\}")


@dataclass(frozen=True)
class Reply:
    """What came of one answer. mark: 0 to 1, None for nonsense. failed: why there was no reply.

    reached: a request got as far as the endpoint, so it counts.
    """

    mark: float | None = None
    failed: str = ""
    reached: bool = True


class AIJudge:
    """backoff: seconds before the first new try; each further one waits twice as long.

    Raises RunError `ppo.judge_down` for an address or a key that cannot be used.
    """

    def __init__(
        self, config: Rewards, cache: Path, check_stop: Callable[[], None] = lambda: None, *, backoff: float = 1.0
    ) -> None:
        self.config, self.cache, self.check_stop, self.backoff = config, cache, check_stop, backoff
        self.url = _address(config.judge_url or "")
        self._key = os.environ.get(KEY, "").strip()
        if not (self._key.isascii() and self._key.isprintable()):  # the client would show it in its error
            raise self._down(f"the key in {KEY} holds characters that cannot be sent")
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._client = httpx.Client(headers=headers, trust_env=self.url.host not in LOCAL)
        rows, _ = read_jsonl(cache)
        self._asked = len(rows)
        self._marks: dict[str, float | None] = {row["key"]: row["mark"] for row in rows if {"key", "mark"} <= set(row)}
        self._told_limit = False

    def __enter__(self) -> AIJudge:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @property
    def spent(self) -> bool:
        """Whether it has been asked about as many answers as it may be."""
        return self._asked >= self.config.judge_limit

    def check(self) -> None:
        """Raises RunError `ppo.judge_down` where nobody answers or the key is refused; asks for no mark.

        An endpoint need not list its models: that it has no such address (404) is an answer, too.
        """
        try:
            response = self._client.get(self._at("/models"), timeout=CHECK_SECONDS)
        except httpx.RequestError as error:
            raise self._down(_reason(error)) from error
        if not response.is_success and response.status_code not in (404, 405):
            raise self._down(f"HTTP {response.status_code}")

    def score(self, answers: Sequence[Answer]) -> list[float | None]:
        """Marks from 0 to 1; None for nonsense, for no reply, and beyond the limit.

        Raises RunError `ppo.judge_down` where none of them gets a reply, after the first `AT_ONCE` that failed, and
        whatever `check_stop` raises, which is called again and again.
        """
        keys = {self._key_of(prompt): prompt for prompt in map(self.prompt, answers)}
        replied = any(key in self._marks for key in keys)
        failures = []
        for key, reply in self._replies(self._within_limit(keys)):
            self._keep(key, reply)
            if not reply.failed:
                replied = True
                continue
            failures.append(reply.failed)
            if not replied and len(failures) >= AT_ONCE:
                break
        if failures and not replied:
            raise self._down(failures[-1])
        return [self._marks.get(self._key_of(self.prompt(answer))) for answer in answers]

    def prompt(self, answer: Answer) -> str:
        """What the judge is asked about an answer. Braces round anything but the three names stay as they are."""
        values = {"question": answer.question, "answer": answer.text, "reference": answer.reference or ""}
        text = FILLED.sub(lambda found: values[found[1]], self.config.judge_prompt)
        return text.encode("utf-8", "replace").decode("utf-8")

    # -- cache and limit ----------------------------------------------------------------------------------------------
    def _key_of(self, prompt: str) -> str:
        return hashlib.sha256("\0".join([str(self.url), self.config.judge_model, prompt]).encode()).hexdigest()

    def _within_limit(self, prompts: Mapping[str, str]) -> dict[str, str]:
        """Those that have no mark yet and that it may still be asked about."""
        new = [key for key in prompts if key not in self._marks]
        left = max(0, self.config.judge_limit - self._asked)
        if len(new) > left and not self._told_limit:
            print(f"The judge may be asked about {self.config.judge_limit} answers; from here on it marks no new ones.")
            self._told_limit = True
        return {key: prompts[key] for key in new[:left]}

    def _keep(self, key: str, reply: Reply) -> None:
        if not reply.reached:
            return
        self._asked += 1
        if not reply.failed:
            self._marks[key] = reply.mark
        append_jsonl(self.cache, {"key": key, **({"failed": reply.failed} if reply.failed else {"mark": reply.mark})})

    # -- asking -------------------------------------------------------------------------------------------------------
    def _replies(self, prompts: Mapping[str, str]) -> Iterator[tuple[str, Reply]]:
        """Replies as they come, `AT_ONCE` asked for side by side. Closed before the end, it asks no further."""
        pool, closed = ThreadPoolExecutor(AT_ONCE, "judge"), threading.Event()
        waiting: dict[Future[Reply], str] = {pool.submit(self._ask, text, closed): key for key, text in prompts.items()}
        try:
            while waiting:
                self.check_stop()
                done, _ = wait(waiting, POLL_SECONDS, FIRST_COMPLETED)
                for each in done:
                    yield waiting.pop(each), each.result()
        finally:
            closed.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, prompt: str, closed: threading.Event) -> Reply:
        """One answer's mark, with as many tries as it may take."""
        failures, nonsense, reached = 0, 0, False
        while True:
            pause = 0.0
            try:
                response, data = self._post(prompt)
            except httpx.RequestError as error:
                failed = _reason(error)
                reached |= not isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))
            else:
                reached = True
                if response.is_success:
                    mark = mark_of(data)
                    if mark is not None or nonsense == NONSENSE_RETRIES:
                        return Reply(mark)
                    nonsense += 1
                    continue
                failed = self._refusal(response, data)
                if response.status_code not in (408, 429) and response.status_code < 500:
                    return Reply(failed=failed)
                pause = _pause(response)
            pause = min(LONGEST_PAUSE, max(pause, self.backoff * 2**failures))
            if failures == RETRIES or closed.wait(pause):
                return Reply(failed=failed, reached=reached)
            failures += 1

    def _post(self, prompt: str) -> tuple[httpx.Response, bytes]:
        """A response and its body. Raises httpx.RequestError, also where the body takes longer than `judge_timeout`."""
        limit = self.config.judge_timeout
        body = {
            "model": self.config.judge_model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
        }
        deadline, data = time.monotonic() + limit, b""
        with self._client.stream("POST", self._at("/chat/completions"), json=body, timeout=limit) as response:
            for piece in response.iter_bytes():
                data += piece
                if time.monotonic() > deadline:  # httpx counts from byte to byte
                    raise httpx.ReadTimeout("the reply did not end in time")
                if len(data) > LARGEST_REPLY:
                    break
        return response, data

    def _at(self, path: str) -> httpx.URL:
        return self.url.copy_with(path=self.url.path.rstrip("/") + path)

    def _refusal(self, response: httpx.Response, data: bytes) -> str:
        """`HTTP 404: no such model`, without the key, which some endpoints repeat."""
        said = " ".join(data.decode("utf-8", "replace").split())
        said = said.replace(self._key, "…") if self._key else said
        return f"HTTP {response.status_code}" + (f": {said[:200]}" if said else "")

    def _down(self, detail: str) -> RunError:
        return RunError("ppo.judge_down", url=str(self.url), detail=detail)


def mark_of(data: bytes) -> float | None:
    """The mark in a chat completion, 0 to 1: its first number, if that is one of 0 to 10."""
    try:
        said: Any = orjson.loads(data)["choices"][0]["message"]["content"]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return None
    found = MARK.search(THOUGHTS.sub("", said)) if isinstance(said, str) else None
    mark = float(found[0]) if found else math.nan
    return mark / BEST if 0 <= mark <= BEST else None


def _address(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text.strip())
    except httpx.InvalidURL as error:
        raise RunError("ppo.judge_down", url=text, detail=str(error)) from error
    if url.scheme not in ("http", "https") or not url.host:
        raise RunError("ppo.judge_down", url=text, detail="its address must begin with http:// or https://")
    if url.userinfo:  # the config is written to files
        raise RunError("ppo.judge_down", url=url.host, detail=f"a key belongs into {KEY}, not into the address")
    return url


def _reason(error: httpx.RequestError) -> str:
    return str(error) or type(error).__name__


def _pause(response: httpx.Response) -> float:
    """The seconds that the endpoint asks to be left alone for; 0 where it names none."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else 0.0
