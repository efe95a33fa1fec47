"""A model as the annotator, and runs that are killed: what is said does not depend on when it was asked."""

from __future__ import annotations

import os
import signal
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.annotating.people import annotating
from core.configs.files import resolve
from core.configs.models import Answers
from core.data.store.library import open_dataset
from core.errors import RunError, StopRequested
from core.evaluation.speaking import speaking
from core.jobs import store
from core.recipes import annotate as recipe
from core.records import Produced
from core.report import RunContext
from core.rundir import RunDir, State, read_jsonl, read_record, state_of
from core.workspace import Workspace
from tests.annotate_tools import again, chats, dataset, figures, made_by, rows_of, submitted
from tests.endpoint_tools import Endpoint

PROMPTS = {str(n): f"ba be {'bi ' * n}" for n in range(9)}


def said(context: RunContext, base: Path, prompts: dict[str, Any], *, tokens: int = 256, **how: Any) -> dict[str, Any]:
    settings = Answers(max_new_tokens=6, temperature=how.pop("temperature", 1.0))
    with speaking(context, str(base), settings, seeds=[how.pop("seed", 1)], tokens=tokens) as [speaker]:
        return dict(speaker.ask(prompts, how.pop("understood", lambda text: True)))


@pytest.fixture
def context(workspace: Workspace, tmp_path: Path) -> RunContext:
    ref = dataset(workspace, tmp_path, "chat", chats(6)).ref
    return submitted(workspace, f"data.rows={ref}", "annotator.kind=person")


# -- one model --------------------------------------------------------------------------------------------------------
def test_what_is_said_does_not_depend_on_the_batch(context: RunContext, tiny_model: Path) -> None:
    together = said(context, tiny_model, PROMPTS)
    alone = said(context, tiny_model, PROMPTS, tokens=64)
    assert {key: reply.text for key, reply in together.items()} == {key: reply.text for key, reply in alone.items()}
    assert said(context, tiny_model, {"5": PROMPTS["5"]})["5"] == together["5"]
    assert any(said(context, tiny_model, PROMPTS, seed=2)[key].text != together[key].text for key in PROMPTS)
    assert all(reply.tokens_in > 0 and reply.tokens_out > 0 for reply in together.values())


def test_nonsense_is_drawn_anew_once(context: RunContext, tiny_model: Path) -> None:
    first = said(context, tiny_model, PROMPTS, temperature=0.0)
    asked: list[str] = []

    def never(text: str) -> bool:
        asked.append(text)
        return False

    second = said(context, tiny_model, PROMPTS, temperature=0.0, understood=never)
    assert asked == [reply.text for reply in first.values()]
    assert any(second[key].text != first[key].text for key in PROMPTS)
    assert all(second[key].tokens_in == 2 * first[key].tokens_in for key in PROMPTS)


def test_a_prompt_over_the_context_says_nothing_of_the_others(context: RunContext, tiny_model: Path) -> None:
    replies = said(context, tiny_model, {"long": "ba " * 2000, "short": "ba"})
    assert (replies["long"].refused, "context" in replies["long"].failed) == (True, True)
    assert not replies["short"].failed


def test_a_model_that_can_say_nothing_at_all_is_told(workspace: Workspace, tmp_path: Path, tiny_model: Path) -> None:
    rows = chats(3)
    for row in rows:
        row["messages"][0]["content"] = "ba " * 2000
    ref = dataset(workspace, tmp_path, "long", rows).ref
    words = ["annotator.kind=model", f"annotator.base={tiny_model}"]
    with pytest.raises(RunError, match="no room for a reply") as caught:
        recipe.main(submitted(workspace, f"data.rows={ref}", *words))
    assert caught.value.code == "annotate.model_silent"


def test_the_memory_is_free_again_after_a_failure_too(context: RunContext, tiny_model: Path) -> None:
    settings, loaded = Answers(max_new_tokens=2), []
    speakers = []

    def stopped() -> None:
        with speaking(context, str(tiny_model), settings, seeds=[1], tokens=64) as [speaker]:
            speakers.append(speaker)
            assert not dict(speaker.ask({"1": "ba"}))["1"].failed
            loaded.append(weakref.ref(speaker.load().model))
            raise StopRequested

    with pytest.raises(StopRequested):
        stopped()
    assert loaded[0]() is None


# -- sampled answers --------------------------------------------------------------------------------------------------
def test_answers_are_sampled_and_put_in_order(
    workspace: Workspace, tmp_path: Path, tiny_model: Path, endpoint: Endpoint
) -> None:
    ref = dataset(workspace, tmp_path, "chat", chats(6)).ref
    endpoint.behaves = lambda prompt, times: "3 > 1 > 2"
    words = [
        f"data.rows={ref}", "task.kind=rank", f"answers.base={tiny_model}", "answers.max_new_tokens=6",
        f"annotator.url={endpoint.url}", "annotator.model=m",
    ]  # fmt: skip
    context = submitted(workspace, *words)
    recipe.main(context)
    made = made_by(context)
    assert all(sorted(answer["score"] for answer in row["answers"]) == [0, 1, 2] for row in rows_of(made))
    assert not any("answer" in answer["content"] for row in rows_of(made) for answer in row["answers"])
    asked, kept = len(endpoint.asked), (annotating(context.run) / "answers.jsonl").read_bytes()
    assert len(kept.splitlines()) == 18

    endpoint.models = 503  # it is down
    again(context)  # nothing is asked, sampled or even loaded again
    endpoint.models = 200
    assert len(endpoint.asked) == asked
    assert (annotating(context.run) / "answers.jsonl").read_bytes() == kept
    assert made_by(context).ref == made.ref

    with_own = submitted(workspace, *words, "answers.own=true", "answers.count=2")
    recipe.main(with_own)
    first = rows_of(made_by(with_own))[0]
    assert first["answers"][0]["content"] == "answer 0"
    assert len(first["answers"]) == 3


# -- killed and stopped -----------------------------------------------------------------------------------------------
def wait(run: RunDir, reached: Callable[[], bool], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, (state_of(run), run.progress(), run.result(), run.log_file(0).read_text())
        time.sleep(0.02)


def submit(workspace: Workspace, *words: str) -> RunDir:
    return store.submit(workspace, "annotate", resolve("annotate", overrides=["devices.use=cpu", *words]))


def finished(workspace: Workspace, run: RunDir) -> str:
    wait(run, lambda: not state_of(run).live)
    assert state_of(run) is State.SUCCEEDED, run.result()
    made = read_record(run.produced_file, Produced)
    assert made is not None
    return open_dataset(workspace, made.datasets[0]).card.sha256


def killed(run: RunDir, after: int) -> None:
    """SIGKILL to its process, once that many replies are kept."""
    kept = annotating(run) / "replies.jsonl"
    wait(run, lambda: len(read_jsonl(kept)[0]) >= after)
    status = run.status()
    assert status is not None
    os.kill(status.rank_pids[0], signal.SIGKILL)
    wait(run, lambda: not state_of(run).live, 10.0)
    assert state_of(run) in (State.INTERRUPTED, State.FAILED)


def test_a_killed_run_asks_no_row_twice_and_makes_the_same_dataset(
    workspace: Workspace, tmp_path: Path, endpoint: Endpoint
) -> None:
    ref = dataset(workspace, tmp_path, "chat", chats(60)).ref

    def behaves(prompt: str, times: int) -> str:
        time.sleep(0.02)
        return "nonsense" if "question 7" in prompt else str(len(prompt) % 10)

    endpoint.behaves = behaves
    words = [f"data.rows={ref}", f"annotator.url={endpoint.url}", "annotator.model=m", "annotator.at_once=2"]
    whole = finished(workspace, submit(workspace, *words))
    before = len(endpoint.asked)

    run = submit(workspace, *words)
    killed(run, 10)
    killed(store.resume(workspace, run.id), 30)
    # What was being said when it was killed had not been kept; all else is asked for once.
    assert finished(workspace, store.resume(workspace, run.id)) == whole
    assert before <= len(endpoint.asked) - before <= before + 2 * 2
    assert len(read_jsonl(annotating(run) / "replies.jsonl")[0]) == 60
    assert run.status().devices == []  # an endpoint is asked from here, and computes elsewhere


@pytest.mark.long
@pytest.mark.slow
def test_a_killed_model_says_the_same_in_the_end(workspace: Workspace, tmp_path: Path, tiny_model: Path) -> None:
    ref = dataset(workspace, tmp_path, "chat", chats(200)).ref
    words = [
        f"data.rows={ref}", "task.kind=improve", "annotator.kind=model", f"annotator.base={tiny_model}",
        "annotator.max_new_tokens=8", "annotator.temperature=1", "annotator.tokens=600",
    ]  # fmt: skip
    whole = finished(workspace, submit(workspace, *words))
    run = submit(workspace, *words)
    killed(run, 20)
    assert finished(workspace, store.resume(workspace, run.id)) == whole


def test_a_stop_keeps_what_was_said_and_delivers_nothing(
    workspace: Workspace, tmp_path: Path, endpoint: Endpoint
) -> None:
    ref = dataset(workspace, tmp_path, "chat", chats(40)).ref
    context = submitted(workspace, f"data.rows={ref}", f"annotator.url={endpoint.url}", "annotator.model=m")

    def behaves(prompt: str, times: int) -> str:
        time.sleep(0.02)
        if len(endpoint.asked) == 12:
            context.run.stop_file.touch()
        return "6"

    endpoint.behaves = behaves
    with pytest.raises(StopRequested):
        recipe.main(context)
    assert len(endpoint.asked) < 30
    assert not context.run.produced_file.exists()
    had = set(endpoint.prompts)
    again(context)
    assert len(made_by(context)) == 40
    assert sum(endpoint.prompts.count(prompt) for prompt in had) <= len(had) + 2 * 4
    assert figures(context)["rows"] == 40
