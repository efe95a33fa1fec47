"""The official client against our server: what others use must work as they know it; scores beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch

from core.errors import InputError
from core.models.lineage import base_weights, run_weights
from core.recipes import reward
from core.references import RunRef
from core.rundir import RunDir
from core.serving import client, session
from core.serving.client import ServerHandle
from core.serving.protocol import MAX_SCORED
from core.serving.registry import Registry
from core.training.judges import load_judge
from core.workspace import Workspace
from tests.conftest import write_jsonl
from tests.models_tools import make_run
from tests.test_reward import start
from tests.test_reward_pairs import pair_rows

QUESTION: list[Any] = [{"role": "user", "content": "发烧 ba be bi?"}]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    workspace = Workspace(tmp_path_factory.mktemp("openai") / "workspace")
    yield workspace
    session.stop_server(workspace)


@pytest.fixture(scope="module")
def judge(place: Workspace, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A reward run of a few real steps."""
    data = write_jsonl(tmp_path_factory.mktemp("pairs") / "pairs.jsonl", pair_rows(32))
    return start(reward, place, tiny_model, data, "optim.learning_rate=2e-2", "schedule.epochs=2")


@pytest.fixture(scope="module")
def server(place: Workspace, tiny_model: Path, judge: RunDir) -> ServerHandle:
    make_run(place, tiny_model, seed=1, name="one")
    return session.ensure_server(place, str(tiny_model), ["one", judge.id], device="cpu", dtype="fp32")


@pytest.fixture
def official(server: ServerHandle) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0)


def test_an_answer_whole_and_streamed(official: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "one", "messages": QUESTION, "max_tokens": 12, "seed": 3, "temperature": 0.8}
    whole = official.chat.completions.create(**asked)
    pieces = list(official.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert text == whole.choices[0].message.content
    assert whole.choices[0].finish_reason == pieces[-1].choices[0].finish_reason
    assert whole.usage is not None
    assert whole.usage.completion_tokens == pieces[-1].usage.completion_tokens <= 12
    made: Any = whole.model_extra
    assert len(made["galen"]["base_sha256"]) == len(made["galen"]["adapter_sha256"]) == 64
    again = official.chat.completions.create(**{**asked, "seed": 4})
    assert again.choices[0].message.content != text


def test_stop_words_and_models(official: openai.OpenAI, judge: RunDir) -> None:
    asked: dict[str, Any] = {"model": "base", "messages": QUESTION, "max_tokens": 24, "temperature": 0}
    text = official.chat.completions.create(**asked).choices[0].message.content
    assert text
    word = text[len(text) // 2]
    cut = official.chat.completions.create(**asked, stop=word).choices[0]
    assert (cut.message.content, cut.finish_reason) == (text.split(word)[0], "stop")
    kinds = {model.id: model.model_extra["galen"]["kind"] for model in official.models.list()}
    assert kinds.pop(judge.id) == "reward"
    assert set(kinds.values()) == {"language"}


def test_mistakes_are_the_client_s_own_exceptions(official: openai.OpenAI, server: ServerHandle, judge: RunDir) -> None:
    with pytest.raises(openai.NotFoundError, match="nobody"):
        official.chat.completions.create(model="nobody", messages=QUESTION)
    with pytest.raises(openai.BadRequestError, match="reward model"):
        official.chat.completions.create(model=judge.id, messages=QUESTION)
    with pytest.raises(openai.BadRequestError, match="tools"):
        official.chat.completions.create(
            model="base", messages=QUESTION, tools=[{"type": "function", "function": {"name": "f"}}]
        )
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0).models.list()


# -- templates and scores ---------------------------------------------------------------------------------------------
def test_a_request_may_name_a_template(server: ServerHandle) -> None:
    def ask(template: str | None) -> str:
        *pieces, _ = client.stream_chat(server, "base", QUESTION, max_tokens=12, temperature=0, template=template)
        return "".join(map(str, pieces))

    assert ask("plain") != ask(None)
    with pytest.raises(InputError) as error:
        ask("nonsense")
    assert "nonsense" in str(error.value)


def test_scores_are_the_judge_s(server: ServerHandle, place: Workspace, judge: RunDir) -> None:
    """On the base's own body, beside other adapters, what the merged reward model says."""
    rows = pair_rows(6, seed=9)
    asked = [[{"role": "user", "content": row["prompt"]}] for row in rows]
    told = [[*each, {"role": "assistant", "content": row["chosen"]}] for each, row in zip(asked, rows, strict=True)]
    loaded = load_judge(place, judge.id, device="cpu", dtype=torch.float32, max_length=512)
    from core.data.encode.pairs import encode_answers

    trees = [encode_answers(loaded.encoder, each[:-1], [each[-1]["content"]])[0] for each in told]
    expected = [scores[0] for scores in loaded.score(trees, tokens=4096)]
    assert client.score(server, judge.id, told) == pytest.approx(expected, abs=1e-4)
    assert len(set(expected)) > 1
    many = MAX_SCORED // len(told) + 1  # more than one request has
    assert client.score(server, judge.id, told * many) == pytest.approx(expected * many, abs=1e-4)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"model": "one", "messages": [*QUESTION, {"role": "assistant", "content": "ba"}]}, "serve.scores_nothing"),
        ({"messages": QUESTION}, "serve.bad_request"),
        ({"model": "", "messages": QUESTION, "conversations": [QUESTION]}, "serve.bad_request"),
        ({"model": "", "conversations": []}, "serve.bad_request"),
        ({"model": "", "conversations": "x"}, "serve.bad_request"),
        ({"model": "", "messages": QUESTION}, "serve.no_answer"),
    ],
)
def test_scores_refused(server: ServerHandle, judge: RunDir, body: dict[str, Any], code: str) -> None:
    if "model" in body:
        body = {**body, "model": body["model"] or judge.id}
    answer = httpx.post(f"{server.url}/v1/score", json=body, headers=server.headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


def test_a_whole_reward_model_scores_as_its_run_does(place: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    """Full tuning leaves a classifier; a server of any base loads it beside."""
    data = write_jsonl(tmp_path / "pairs.jsonl", pair_rows(32))
    run = start(reward, place, tiny_model, data, "tuning.method=full", "optim.learning_rate=1e-3", "schedule.epochs=1")
    registry = Registry(base_weights(place, str(tiny_model)), dtype=torch.float32, device="cpu")
    scorer = registry.add(run_weights(place, RunRef(run=run.id)))
    assert registry.scorer(run.id) is scorer
    conversation = [*QUESTION, {"role": "assistant", "content": "ba be"}]
    loaded = load_judge(place, run.id, device="cpu", dtype=torch.float32, max_length=512)
    ids = scorer.ids(conversation)
    [[expected]] = loaded.score([(ids[:1], ids[1:])], tokens=4096)
    assert scorer.score(ids) == pytest.approx(expected, abs=1e-4)
