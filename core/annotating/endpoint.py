"""The model behind an OpenAI-compatible endpoint, asked for chat completions. Torch-free.

    with Endpoint("http://127.0.0.1:8000/v1", "model", key_name="GALEN_ANNOTATE_KEY") as endpoint:
        for key, reply in endpoint.ask({"a": "…"}):       as they come, `at_once` side by side
            print(key, reply.text, reply.tokens_out, reply.failed)

A busy or broken server (408, 429, 5xx), a lost connection and a reply that does not end in time are tried again, after
the pause that the endpoint asks for or a growing one; nonsense is asked for once more; a refusal is final. The key
comes from the environment variable `key_name`; it is sent to the endpoint, and written nowhere.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

import httpx
import orjson

from core.annotating.replies import Prompt, Reply, Understood, something
from core.errors import RunError

JUDGE_KEY = "GALEN_JUDGE_KEY"  # the environment variable with the key of an endpoint that judges answers
LOCAL = ("127.0.0.1", "localhost", "::1")  # never reached through a proxy
AT_ONCE = 4
RETRIES = 3
NONSENSE_RETRIES = 1
LONGEST_PAUSE = 30.0  # seconds before another try, whatever the endpoint asks for
CHECK_SECONDS = 5.0
POLL_SECONDS = 0.2
LARGEST_REPLY = 1 << 20  # bytes
ABOUT_THE_PROMPT = (400, 413, 422)


class Endpoint:
    """url: up to and with `/v1`. timeout: seconds that one whole reply may take. max_tokens: None leaves it open.

    retry_temperature: at which nonsense is asked for once more, if not at the same one, where most say the same again.
    backoff: seconds before the first new try; each further one waits twice as long. down_code: of the RunError for an
    address or a key that cannot be used, raised here, and for an endpoint that does not answer; its parameters are
    `url`, `detail` and `key` (the variable's name).
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_name: str,
        timeout: float = 60.0,
        at_once: int = AT_ONCE,
        temperature: float = 0.0,
        max_tokens: int | None = None,
        retry_temperature: float | None = None,
        check_stop: Callable[[], None] = lambda: None,
        backoff: float = 1.0,
        down_code: str = "annotate.endpoint_down",
    ) -> None:
        self.model, self.key_name, self.timeout, self.at_once = model, key_name, timeout, at_once
        self.temperature, self.max_tokens = temperature, max_tokens
        self.retry_temperature = temperature if retry_temperature is None else max(temperature, retry_temperature)
        self.check_stop, self.backoff, self._down_code = check_stop, backoff, down_code
        self.url = self._address(url)
        self._key = os.environ.get(key_name, "").strip()
        if not (self._key.isascii() and self._key.isprintable()):  # the client would show it in its error
            raise self.down(f"the key in {key_name} holds characters that cannot be sent")
        self._answers = False  # until it has been seen to
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._client = httpx.Client(headers=headers, trust_env=self.url.host not in LOCAL)

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @property
    def identity(self) -> str:
        """Where, which model, and how it is asked: the same prompt gets the same reply, as far as that can be."""
        return "\0".join([str(self.url), self.model, str(self.temperature), str(self.max_tokens)])

    def down(self, detail: str) -> RunError:
        return RunError(self._down_code, url=str(self.url), detail=detail, key=self.key_name)

    def check(self) -> None:
        """Raises RunError where nobody answers or the key is refused; asks for no completion.

        An endpoint need not list its models: that it has no such address (404) is an answer, too.
        """
        try:
            response = self._client.get(self._at("/models"), timeout=CHECK_SECONDS)
        except httpx.RequestError as error:
            raise self.down(_reason(error)) from error
        if not response.is_success and response.status_code not in (404, 405):
            raise self.down(f"HTTP {response.status_code}")
        self._answers = True

    def ask(self, prompts: Mapping[str, Prompt], understood: Understood = something) -> Iterator[tuple[str, Reply]]:
        """One Reply for each prompt, with its key, as they come. Closed before the end, it asks no further.

        Raises as `check`, which is called before the first prompt, and what `check_stop` raises, which is called again
        and again.
        """
        if prompts and not self._answers:
            self.check()
        pool, closed = ThreadPoolExecutor(self.at_once, "endpoint"), threading.Event()
        coming, waiting = iter(prompts.items()), dict[Future[Reply], str]()

        def fill() -> None:
            while len(waiting) < 2 * self.at_once and (item := next(coming, None)) is not None:
                waiting[pool.submit(self._reply, item[1], understood, closed)] = item[0]

        try:
            fill()
            while waiting:
                self.check_stop()
                done, _ = wait(waiting, POLL_SECONDS, FIRST_COMPLETED)
                for each in done:
                    key = waiting.pop(each)
                    fill()
                    yield key, each.result()
        finally:
            closed.set()
            pool.shutdown(wait=False, cancel_futures=True)

    # -- one prompt ---------------------------------------------------------------------------------------------------
    def _reply(self, prompt: Prompt, understood: Understood, closed: threading.Event) -> Reply:
        """With as many tries as it may take; `tokens` of all of them."""
        failures, nonsense, so_far = 0, 0, Reply(reached=False)
        while True:
            pause = 0.0
            try:
                response, data = self._post(prompt, self.retry_temperature if nonsense else self.temperature)
            except httpx.RequestError as error:
                failed = _reason(error)
                got_there = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                so_far = replace(so_far, reached=so_far.reached or got_there)
            else:
                so_far = replace(so_far, reached=True)
                if response.is_success:
                    so_far = _with_completion(so_far, data)
                    if (so_far.text is not None and understood(so_far.text)) or nonsense == NONSENSE_RETRIES:
                        return so_far
                    nonsense += 1
                    continue
                failed = self._refusal(response, data)
                if response.status_code not in (408, 429) and response.status_code < 500:
                    refused = response.status_code in ABOUT_THE_PROMPT
                    return replace(so_far, text=None, failed=failed, refused=refused)
                pause = _pause(response)
            pause = min(LONGEST_PAUSE, max(pause, self.backoff * 2**failures))
            if failures == RETRIES or closed.wait(pause):
                return replace(so_far, text=None, failed=failed)
            failures += 1

    def _post(self, prompt: Prompt, temperature: float) -> tuple[httpx.Response, bytes]:
        """A response and its body. Raises httpx.RequestError, also where the body takes longer than `timeout`."""
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        body: dict[str, Any] = {"model": self.model, "messages": messages, "temperature": temperature}
        if self.max_tokens is not None:
            body["max_tokens"] = self.max_tokens
        deadline, data = time.monotonic() + self.timeout, b""
        at = self._at("/chat/completions")
        with self._client.stream("POST", at, json=body, timeout=self.timeout) as response:
            for piece in response.iter_bytes():
                data += piece
                if time.monotonic() > deadline:  # httpx counts from byte to byte
                    raise httpx.ReadTimeout("the reply did not end in time")
                if len(data) > LARGEST_REPLY:
                    break
        return response, data

    def _address(self, text: str) -> httpx.URL:
        try:
            url = httpx.URL(text.strip())
        except httpx.InvalidURL as error:
            raise self._unusable(text, str(error)) from error
        if url.scheme not in ("http", "https") or not url.host:
            raise self._unusable(text, "its address must begin with http:// or https://")
        if url.userinfo:  # the config is written to files
            raise self._unusable(url.host, f"a key belongs into {self.key_name}, not into the address")
        return url

    def _unusable(self, url: str, detail: str) -> RunError:
        return RunError(self._down_code, url=url, detail=detail, key=self.key_name)

    def _at(self, path: str) -> httpx.URL:
        return self.url.copy_with(path=self.url.path.rstrip("/") + path)

    def _refusal(self, response: httpx.Response, data: bytes) -> str:
        """`HTTP 404: no such model`, without the key, which some endpoints repeat."""
        said = " ".join(data.decode("utf-8", "replace").split())
        said = said.replace(self._key, "…") if self._key else said
        return f"HTTP {response.status_code}" + (f": {said[:200]}" if said else "")


def completion(data: bytes) -> tuple[str | None, int, int]:
    """(what a chat completion says, its prompt's tokens, its own); None and 0 for what does not stand in it."""
    try:
        body = orjson.loads(data)
        said = body["choices"][0]["message"]["content"]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return None, 0, 0
    usage = body.get("usage")
    counts = [usage.get(name) if isinstance(usage, dict) else 0 for name in ("prompt_tokens", "completion_tokens")]
    into, out = (max(0, count) if isinstance(count, int) else 0 for count in counts)
    return said if isinstance(said, str) else None, into, out


def _with_completion(so_far: Reply, data: bytes) -> Reply:
    said, into, out = completion(data)
    return replace(so_far, text=said, tokens_in=so_far.tokens_in + into, tokens_out=so_far.tokens_out + out)


def _reason(error: httpx.RequestError) -> str:
    return str(error) or type(error).__name__


def _pause(response: httpx.Response) -> float:
    """The seconds that the endpoint asks to be left alone for; 0 where it names none."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else 0.0
