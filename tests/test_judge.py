"""The AI judge against a real server in a thread: one that answers, is slow, is down, talks nonsense, or has enough."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.configs.ppo import Rewards
from core.errors import RunError, StopRequested
from core.ppo.judge import AT_ONCE, JUDGE_KEY, RETRIES, AIJudge, mark_of
from core.rules import Answer
from tests.endpoint_tools import Endpoint, unused_url


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "judge.jsonl"


def judge(url: str, cache: Path, check_stop: Callable[[], None] = lambda: None, **settings: Any) -> AIJudge:
    given = {"judge_url": url, "judge_model": "m", "judge_prompt": "{answer}", "judge_timeout": 5.0, **settings}
    return AIJudge(Rewards.model_validate(given), cache, check_stop, backoff=0.01)


def answers(*texts: str) -> list[Answer]:
    return [Answer(text, f"question of {text}", None, 5, True) for text in texts]


# -- an endpoint that answers -----------------------------------------------------------------------------------------
def test_marks_come_in_the_order_of_the_answers(endpoint: Endpoint, cache: Path) -> None:
    endpoint.behaves = lambda prompt, times: f"{prompt.removeprefix('a')}/10, because 3 reasons"
    texts = [f"a{mark}" for mark in range(11)]
    with judge(endpoint.url, cache) as asked:
        asked.check()
        assert asked.score(answers(*texts)) == [mark / 10 for mark in range(11)]
    assert {one["temperature"] for one in endpoint.asked} == {0}
    assert {one["model"] for one in endpoint.asked} == {"m"}


def test_answers_are_judged_side_by_side(endpoint: Endpoint, cache: Path) -> None:
    together = threading.Barrier(AT_ONCE, timeout=10)
    endpoint.behaves = lambda prompt, times: "5" if together.wait() >= 0 else ""
    with judge(endpoint.url, cache) as asked:
        assert asked.score(answers(*"abcdefgh")) == [0.5] * 8
    assert endpoint.most_at_once == AT_ONCE


def test_only_the_three_names_are_filled_in_and_only_once(endpoint: Endpoint, cache: Path) -> None:
    form = '{question} | {answer} | {reference} | reply {"mark": n} {other}'
    with judge(endpoint.url, cache, judge_prompt=form) as asked:
        asked.score([Answer("see {question} \ud800", "q", "r {answer}", 1, True), Answer("b", "q", None, 1, True)])
    assert sorted(endpoint.prompts) == [
        'q | b |  | reply {"mark": n} {other}',
        'q | see {question} ? | r {answer} | reply {"mark": n} {other}',
    ]


@pytest.mark.parametrize(
    ("said", "mark"),
    [
        ("8", 0.8),
        ("I give 7.5 of 10.", 0.75),
        ("10/10", 1),
        ("<think>3 reasons, perhaps 4</think>\n9", 0.9),
        ("<think>3 reasons", None),
        ("0", 0),
        (".5", 0.05),
        ("11", None),
        ("-1", None),
        ("good", None),
        ("", None),
        (None, None),
        ([{"text": "8"}], None),
    ],
)
def test_the_one_number_counts_if_it_is_a_mark(said: Any, mark: float | None) -> None:
    found = mark_of(json.dumps({"choices": [{"message": {"content": said}}]}).encode())
    assert found == (mark if mark is None else pytest.approx(mark))


@pytest.mark.parametrize(
    "data", [b"", b"<html>8</html>", b"[]", b"8", b'{"choices": []}', b'{"choices": [8]}', b"\xff"]
)
def test_what_is_no_completion_is_no_mark(data: bytes) -> None:
    assert mark_of(data) is None


# -- the cache and the limit ------------------------------------------------------------------------------------------
def test_a_resumed_run_does_not_ask_again(endpoint: Endpoint, cache: Path) -> None:
    endpoint.behaves = lambda prompt, times: "good" if prompt == "b" else "6"
    with judge(endpoint.url, cache) as asked:
        assert asked.score(answers("a", "b", "a")) == [0.6, None, 0.6]
    made = len(endpoint.asked)
    assert made == 3  # "b" twice: nonsense is asked for once more
    with judge(endpoint.url, cache) as asked:
        assert asked.score(answers("b", "a")) == [None, 0.6]
    assert len(endpoint.asked) == made
    with judge(endpoint.url, cache, judge_model="other") as asked:
        assert asked.score(answers("a")) == [0.6]
    assert len(endpoint.asked) == made + 1


def test_a_torn_cache_is_read_as_far_as_it_goes(endpoint: Endpoint, cache: Path) -> None:
    with judge(endpoint.url, cache) as asked:
        asked.score(answers("a"))
    cache.write_bytes(cache.read_bytes() + b'no json\n{"key": 3}\n[]\n{"key": "tor')
    with judge(endpoint.url, cache) as asked:
        assert asked.score(answers("a")) == [0.7]
    assert endpoint.prompts == ["a"]


def test_the_limit_holds_over_attempts_and_is_told_once(
    endpoint: Endpoint, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with judge(endpoint.url, cache, judge_limit=3) as asked:
        assert asked.score(answers("a", "b")) == [0.7, 0.7]
    assert capsys.readouterr().out == ""
    with judge(endpoint.url, cache, judge_limit=3) as asked:
        assert asked.score(answers("a", "c", "d", "e")) == [0.7, 0.7, None, None]
        assert asked.score(answers("f", "b")) == [None, 0.7]
    assert capsys.readouterr().out.count("3 answers") == 1
    assert sorted(endpoint.prompts) == ["a", "b", "c"]


# -- one that does not answer -----------------------------------------------------------------------------------------
def test_too_many_requests_and_broken_servers_are_waited_for(endpoint: Endpoint, cache: Path) -> None:
    busy = {"a": 429, "b": 503, "c": 500}
    endpoint.behaves = lambda prompt, times: "4" if times else (busy[prompt], {"Retry-After": "0"})
    with judge(endpoint.url, cache) as asked:
        assert asked.score(answers("a", "b", "c")) == [0.4] * 3
    assert len(endpoint.asked) == 6


def test_the_pause_that_it_asks_for_is_kept(endpoint: Endpoint, cache: Path) -> None:
    endpoint.behaves = lambda prompt, times: "4" if times else (429, {"Retry-After": "1"})
    began = time.monotonic()
    with judge(endpoint.url, cache) as asked:
        assert asked.score(answers("a")) == [0.4]
    assert time.monotonic() - began >= 1


def test_nonsense_is_asked_for_once_more_and_then_given_up(endpoint: Endpoint, cache: Path) -> None:
    endpoint.behaves = lambda prompt, times: "5" if (prompt, times) == ("a", 1) else b"<html>"
    with judge(endpoint.url, cache) as asked:
        assert asked.score(answers("a", "b")) == [0.5, None]
    assert sorted(endpoint.prompts) == ["a", "a", "b", "b"]


@pytest.mark.parametrize("how", ["silent", "dripping"])
def test_a_slow_reply_is_given_up(endpoint: Endpoint, cache: Path, how: str) -> None:
    def slow(prompt: str, times: int) -> Any:
        if prompt != "slow":
            return "5"
        if how == "dripping":
            return b'{"drip": "' + b"." * 2000
        time.sleep(1)
        return "9"

    endpoint.behaves = slow
    with judge(endpoint.url, cache, judge_timeout=0.3) as asked:
        began = time.monotonic()
        assert asked.score(answers("a", "slow", "b")) == [0.5, None, 0.5]
        assert time.monotonic() - began < 4
    assert endpoint.prompts.count("slow") == 1 + RETRIES
    assert sum("failed" in line for line in cache.read_text().splitlines()) == 1


def test_one_that_is_slow_for_all_is_down(endpoint: Endpoint, cache: Path) -> None:
    endpoint.behaves = lambda prompt, times: time.sleep(1) or "9"
    with judge(endpoint.url, cache, judge_timeout=0.2) as asked, pytest.raises(RunError) as caught:
        asked.score(answers(*"abcdefghijklmnop"))
    assert caught.value.code == "ppo.judge_down"
    assert len(set(endpoint.prompts)) <= 2 * AT_ONCE  # nobody waits for all of them


def test_one_that_is_not_there_is_down_and_costs_nothing(cache: Path) -> None:
    url = unused_url()
    with judge(url, cache, judge_limit=4) as asked:
        with pytest.raises(RunError, match="gives no marks") as caught:
            asked.check()
        assert caught.value.params["url"] == url
        with pytest.raises(RunError, match="refused"):
            asked.score(answers("a", "b"))
    assert not cache.exists()


def test_a_refusal_is_told_without_the_key(
    endpoint: Endpoint, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(JUDGE_KEY, "sk-secret")
    endpoint.behaves = lambda prompt, times: (401, {}, b'{"error": "no such key:\n sk-secret"}')
    with judge(endpoint.url, cache) as asked, pytest.raises(RunError, match=r"HTTP 401: .*no such key: …") as caught:
        asked.score(answers("a"))
    assert len(endpoint.asked) == 1  # asking again would not help
    assert endpoint.keys == {"Bearer sk-secret"}
    told = "".join(capsys.readouterr())
    assert "secret" not in str(caught.value) + cache.read_text() + told + repr(asked.config)


def test_some_that_fail_have_no_mark_and_the_others_keep_theirs(endpoint: Endpoint, cache: Path) -> None:
    endpoint.behaves = lambda prompt, times: (400, {}, b"too long") if prompt == "b" else "3"
    with judge(endpoint.url, cache) as asked:
        assert asked.score(answers("a", "b", "c")) == [0.3, None, 0.3]
        endpoint.behaves = lambda prompt, times: "2"
        assert asked.score(answers("b")) == [0.2]  # what failed is asked for again


@pytest.mark.parametrize(("status", "fine"), [(200, True), (404, True), (401, False), (403, False), (500, False)])
def test_the_check_before_the_start(endpoint: Endpoint, cache: Path, status: int, fine: bool) -> None:
    endpoint.models = status
    with judge(endpoint.url + "/", cache) as asked:
        if fine:
            asked.check()
        else:
            with pytest.raises(RunError, match=f"HTTP {status}"):
                asked.check()
    assert endpoint.asked == []


@pytest.mark.parametrize(
    "url",
    ["", "file:///etc/passwd", "ftp://host/v1", "localhost:8000/v1", "http://", "http://me:pw@host/v1", "http://[::"],
)
def test_only_web_addresses_are_asked(url: str, cache: Path) -> None:
    with pytest.raises(RunError) as caught:
        judge(url, cache)
    assert caught.value.code == "ppo.judge_down"
    assert "pw" not in str(caught.value)


def test_a_key_that_cannot_be_sent_is_refused_unseen(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(JUDGE_KEY, "sk-\nsecret")
    with pytest.raises(RunError, match=JUDGE_KEY) as caught:
        judge(unused_url(), cache)
    assert "secret" not in str(caught.value)


def test_a_run_can_be_stopped_while_it_is_asked(endpoint: Endpoint, cache: Path) -> None:
    asked_to_stop = threading.Event()

    def behaves(prompt: str, times: int) -> str:
        if len(endpoint.asked) > AT_ONCE:
            asked_to_stop.set()
        time.sleep(0.1)
        return "5"

    def check_stop() -> None:
        if asked_to_stop.is_set():
            raise StopRequested

    endpoint.behaves = behaves
    with judge(endpoint.url, cache, check_stop) as asked, pytest.raises(StopRequested):
        asked.score(answers(*[f"a{number}" for number in range(100)]))
    assert len(endpoint.asked) < 30
    kept = len(cache.read_text().splitlines())
    assert kept >= 1  # what was marked by then is not asked for again
