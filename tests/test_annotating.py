"""Asking an annotator: what is kept, counted and asked again. How an endpoint fails is in test_judge.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.annotating.asking import Asking
from core.annotating.endpoint import Endpoint as Asked
from core.annotating.endpoint import completion
from core.annotating.replies import Reply, Usage, number_in, spoken
from core.annotating.verdicts import order_in
from core.errors import RunError, StopRequested
from tests.endpoint_tools import Endpoint, unused_url

KEY = "GALEN_TEST_KEY"


def ask(
    url: str, kept: Path, prompts: dict[str, Any], *, patience: int | None = None, limit: int | None = None, **how: Any
) -> tuple[dict[str, Reply], Usage]:
    with Asked(url, "m", key_name=KEY, **{"timeout": 5.0, "backoff": 0.01, **how}) as annotator:
        asking = Asking(annotator, kept, patience=patience, limit=limit)
        return dict(asking.ask(prompts)), asking.usage


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "replies.jsonl"


def test_texts_and_tokens_come_back_with_their_keys(endpoint: Endpoint, kept: Path) -> None:
    endpoint.behaves = lambda prompt, times: prompt.upper()
    replies, usage = ask(endpoint.url, kept, {"1": "abc", "2": "defg"}, temperature=0.5, max_tokens=9)
    assert replies == {"1": Reply("ABC", 3, 3), "2": Reply("DEFG", 4, 4)}
    assert usage == Usage(asked=2, tokens_in=7, tokens_out=7)
    assert usage.cost(1_000_000, 2_000_000) == 21
    assert {(body["temperature"], body["max_tokens"]) for body in endpoint.asked} == {(0.5, 9)}


def test_a_prompt_may_be_a_conversation(endpoint: Endpoint, kept: Path) -> None:
    turns = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "why?"}]
    ask(endpoint.url, kept, {"1": turns})
    assert endpoint.asked[0]["messages"] == turns
    assert "max_tokens" not in endpoint.asked[0]


def test_equal_prompts_are_asked_once_and_known_ones_never(endpoint: Endpoint, kept: Path) -> None:
    replies, _ = ask(endpoint.url, kept, {"1": "same", "2": "same", "3": "other"})
    assert {key: reply.text for key, reply in replies.items()} == {"1": "7", "2": "7", "3": "7"}
    again, usage = ask(endpoint.url, kept, {"4": "same", "5": "new"})
    assert sorted(endpoint.prompts) == ["new", "other", "same"]
    assert again["4"] == replies["1"]
    assert usage.asked == 3  # over all attempts
    ask(endpoint.url, kept, {"4": "same"}, temperature=1.0)
    assert endpoint.prompts.count("same") == 2  # another way of asking is another question


def test_the_tokens_of_every_try_count(endpoint: Endpoint, kept: Path) -> None:
    endpoint.behaves = lambda prompt, times: "  " if times == 0 else "yes"
    replies, usage = ask(endpoint.url, kept, {"1": "ab"})
    assert replies["1"] == Reply("yes", 4, 5)
    assert (usage.tokens_in, usage.tokens_out) == (4, 5)


def test_what_failed_is_kept_as_failed_and_asked_again(endpoint: Endpoint, kept: Path) -> None:
    endpoint.behaves = lambda prompt, times: (413, {}, b"too long") if prompt == "b" else "3"
    replies, usage = ask(endpoint.url, kept, {"1": "a", "2": "b"})
    assert replies["2"] == Reply(failed="HTTP 413: too long", refused=True)
    assert usage.failed == 1
    assert sorted(len(json.loads(line)) for line in kept.read_text().splitlines()) == [4, 4]
    endpoint.behaves = lambda prompt, times: "4"
    assert ask(endpoint.url, kept, {"1": "a", "2": "b"})[0]["2"].text == "4"
    assert endpoint.prompts.count("a") == 1


def test_patience_ends_with_an_endpoint_that_goes_down_midway(endpoint: Endpoint, kept: Path) -> None:
    endpoint.behaves = lambda prompt, times: "5" if int(prompt) < 10 else (503, {})
    prompts = {str(number): str(number) for number in range(200)}
    with pytest.raises(RunError, match=r"annotate|HTTP 503") as caught:
        ask(endpoint.url, kept, prompts, patience=8)
    assert caught.value.params == {"url": endpoint.url, "detail": "HTTP 503", "key": KEY}
    assert len(set(endpoint.prompts)) < 30
    assert sum('"text"' in line for line in kept.read_text().splitlines()) == 10


def test_refused_prompts_are_no_reason_to_give_up(endpoint: Endpoint, kept: Path) -> None:
    endpoint.behaves = lambda prompt, times: "5" if int(prompt) % 20 == 0 else (400, {}, b"too long")
    replies, _ = ask(endpoint.url, kept, {str(number): str(number) for number in range(60)}, patience=8, at_once=1)
    assert len(replies) == 60
    assert sum(reply.refused for reply in replies.values()) == 57


def test_one_that_is_not_there_is_down(kept: Path) -> None:
    with pytest.raises(RunError) as caught:
        ask(unused_url(), kept, {str(number): str(number) for number in range(9)})
    assert caught.value.code == "annotate.endpoint_down"
    assert not kept.exists()


def test_the_limit_leaves_the_rest_unanswered(endpoint: Endpoint, kept: Path) -> None:
    replies, _ = ask(endpoint.url, kept, {"1": "a", "2": "b", "3": "c"}, limit=2)
    assert len(replies) == len(endpoint.asked) == 2
    assert set(ask(endpoint.url, kept, {"1": "a", "2": "b", "3": "c"}, limit=2)[0]) == set(replies)


def test_many_prompts_are_not_all_submitted_at_once(endpoint: Endpoint, kept: Path) -> None:
    taken = []

    class Counting(dict):  # says how far it has been read
        def items(self) -> Any:
            for item in super().items():
                taken.append(item[0])
                yield item

    prompts = Counting({str(number): str(number) for number in range(1000)})
    with Asked(endpoint.url, "m", key_name=KEY, at_once=3) as annotator:
        replies = annotator.ask(prompts)
        next(replies)
        assert len(taken) <= 8
        replies.close()


def test_a_stop_is_seen_between_replies(endpoint: Endpoint, kept: Path) -> None:
    def stopping(after: int) -> Callable[[], None]:
        def check_stop() -> None:
            if len(endpoint.asked) > after:
                raise StopRequested

        return check_stop

    prompts = {str(number): str(number) for number in range(100)}
    with pytest.raises(StopRequested):
        ask(endpoint.url, kept, prompts, check_stop=stopping(20))
    assert len(endpoint.asked) < 40
    assert len(kept.read_text().splitlines()) >= 10


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4}, (3, 4)),
        ({"prompt_tokens": "3", "completion_tokens": -4}, (0, 0)),
        ([], (0, 0)),
        (None, (0, 0)),
    ],
)
def test_tokens_that_are_none_are_counted_as_none(usage: Any, counted: tuple[int, int]) -> None:
    body = {"choices": [{"message": {"content": "x"}}], "usage": usage}
    assert completion(json.dumps(body).encode()) == ("x", *counted)


@pytest.mark.parametrize(
    ("said", "low", "high", "number"),
    [
        ("On a scale of 1 to 10, this is an 8.", 0, 10, 8),
        ("Score (1-10): 8", 0, 10, 8),
        ("难度（1-5）：4", 1, 5, 4),
        ("8分（满分10分）", 0, 10, 8),
        ("10分制下是7分", 0, 10, 7),
        ("8 out of 10", 0, 10, 8),
        ("8/10, because of 3 reasons", 0, 10, 8),
        ("8/10 or 9/10", 0, 10, None),
        ("10/10", 0, 10, 10),
        ("8, so 8.0", 0, 10, 8),
        ("**Score: 8**\n\nIt names 3 of 4 doses.", 0, 10, 8),
        ("8\n\n1. It names 2 doses", 0, 10, 8),
        ("评分：9\n理由：有2个要点", 0, 10, 9),
        ("7 or 8", 0, 10, None),
        ("1-5", 1, 5, None),
        ("3/5", 0, 10, None),
        ("From 0 (wrong) to 10 (right)", 0, 10, None),
        ("Step 1: read. Step 2: 8", 0, 10, None),
        ("你可以用0（错误或有害）来回复一个数字", 0, 10, None),  # an echo of what was asked
        ("0 (wrong or harmful)", 0, 10, None),
        ("请用1（人人都知道）打分", 1, 5, None),
        ("Reply with the number alone. 10", 0, 10, None),
        ("正确回答这个问题有多难？5", 1, 5, None),
        ("8 (it is correct and clear)", 0, 10, 8),
        ("8（正确，但不完整）", 0, 10, 8),
        ("The answer is correct and safe: 9", 0, 10, 9),
        ("这个回答错误，打2分", 0, 10, 2),
    ],
)
def test_a_number_is_read_and_never_guessed(said: str, low: float, high: float, number: float | None) -> None:
    assert number_in(said, low, high) == number


@pytest.mark.parametrize(
    ("said", "count", "order"),
    [
        ("2", 2, (1, 0)),
        ("选2", 2, (1, 0)),
        ("Answer 1", 2, (0, 1)),
        ("**Answer 2** is the better answer.", 2, (1, 0)),
        ("Answer 2 is better than Answer 1.", 2, (1, 0)),
        ("The better answer is Answer 2 because Answer 1 lacks a dose.", 2, (1, 0)),
        ("Answer 1 is good, but Answer 2 is better.", 2, (1, 0)),
        ("回答2比回答1更好", 2, (1, 0)),
        ("更好的是回答2，因为它更完整", 2, (1, 0)),
        ("The ranking is 2 > 1 > 3.", 3, (1, 0, 2)),
        ("2, 1, 3", 3, (1, 0, 2)),
        ("1. Answer 2\n2. Answer 1\n3. Answer 3", 3, (1, 0, 2)),
        ("Answer 1 is worse than Answer 2.", 2, None),
        ("回答1不如回答2", 2, None),
        ("回答1比回答2差", 2, None),
        ("Answer 1 is bad.", 2, None),
        ("Answer 1 is as good as Answer 2", 2, None),
        ("Neither Answer 1 nor Answer 2", 2, None),
        ("Both are fine. Answer 1 is", 2, None),
        ("Answer 1:\nThe patient should rest", 2, None),
        ("Is Answer 1 better than Answer 2?", 2, None),
        ("Answer 1 < Answer 2", 2, None),
        ("1 = 2", 2, None),
        ("2 > 1 for tone, 1 > 2 for truth", 2, None),
        ("Answers 1, 2 and 3 are bad", 3, None),
        ("I cannot rank answers 1-3", 3, None),
    ],
)
def test_an_order_is_read_and_never_guessed(said: str, count: int, order: tuple[int, ...] | None) -> None:
    assert order_in(said, count) == order


def test_a_number_is_looked_for_outside_of_thoughts() -> None:
    assert number_in("<think>7</think> 3/5", 1, 5) == 3
    assert number_in("6", 1, 5) is None
    assert number_in(None, 1, 5) is None
    assert spoken("<think>a</think>\n b ") == "b"
