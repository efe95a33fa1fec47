"""What a comparison makes of answers: figures, rewards, a judge's verdicts in both orders, red flags; and resuming."""

from __future__ import annotations

import json
import math
import re
import statistics
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from core.configs.files import resolve
from core.data.encode.encoding import Encoder
from core.data.encode.tokenizer import load_tokenizer
from core.data.store.library import import_file
from core.errors import ConfigError
from core.evaluation.texts import corpus_bleu, measure, overlap
from core.intervals import wilson
from core.jobs.attempts import set_aside
from core.recipes import evaluate as recipe
from core.records_evaluation import (
    Evaluation,
    Item,
    Question,
    Reply,
    Said,
    Verdict,
    answers_file,
    evaluation_file,
    items_file,
    prompts_file,
    together,
    verdicts_file,
)
from core.rundir import RunDir, read_jsonl, write_record
from core.workspace import Workspace
from tests.conftest import conversations, write_jsonl
from tests.endpoint_tools import Endpoint, endpoint, unused_url
from tests.models_tools import make_run
from tests.test_evaluate import classifier, evaluate, found_by, submitted

__all__ = ["endpoint"]
SHOWN = re.compile(r"(?:Answer 1: |回答 1：)(.*)\n\n(?:Answer 2: |回答 2：)(.*)", re.DOTALL)


@pytest.fixture
def chat(workspace: Workspace, tmp_path: Path) -> None:
    """12 conversations, in two categories by turns."""
    rows = [{**row, "category": ("heart", "lungs")[at % 2]} for at, row in enumerate(conversations(12))]
    import_file(workspace, write_jsonl(tmp_path / "chat.jsonl", rows))


@pytest.fixture
def both(workspace: Workspace, tiny_model: Path) -> str:
    """The setting of a base and a run that says other things."""
    make_run(workspace, tiny_model, name="tuned")
    return f"models.runs=[{tiny_model}, tuned]"


def said_of(found: Evaluation, model: int, source: int = 0) -> Said:
    said = found.said_by(model, source)
    assert said is not None
    return said


def items_of(run: RunDir, model: int) -> dict[int, Item]:
    rows, _ = read_jsonl(items_file(run.output))
    return {item.number: item for item in together(rows) if item.exam is None and item.model == model}


def questions_of(run: RunDir) -> dict[int, Question]:
    return {row["number"]: Question.model_validate(row) for row in read_jsonl(prompts_file(run.output))[0]}


def replies_of(run: RunDir, model: int) -> dict[int, Reply]:
    rows, _ = read_jsonl(answers_file(run.output))
    return {row["number"]: Reply.model_validate(row) for row in rows if row["model"] == model}


def verdicts_of(run: RunDir) -> list[Verdict]:
    return [Verdict.model_validate(row) for row in read_jsonl(verdicts_file(run.output))[0]]


# -- figures ----------------------------------------------------------------------------------------------------------
def test_answers_are_measured_against_the_datas_own(workspace: Workspace, chat: None, both: str) -> None:
    run, found = evaluate(workspace, both, "data.prompts=chat")
    assert [(source.name.partition("@")[0], source.asked) for source in found.sources] == [("chat", 12)]
    for model in range(2):
        said, items, replies, questions = said_of(found, model), items_of(run, model), replies_of(run, model), {}
        questions = questions_of(run)
        assert said.answers == len(items) == 12
        for number, item in items.items():
            expected = measure(replies[number].text, questions[number].reference)
            assert {name: item.figures[name] for name in expected} == expected
            assert item.figures["tokens"] == replies[number].tokens
        for name in ("chars", "repetition", "char_bleu4", "rougeL", "exact", "tokens"):
            assert math.isclose(said.figures[name], statistics.mean(item.figures[name] for item in items.values()))
            low, high = said.intervals[name]
            assert low <= said.figures[name] <= high
        overlaps = [overlap(replies[number].text, questions[number].reference) for number in items]
        assert math.isclose(said.figures["bleu"], corpus_bleu(each for each in overlaps if each is not None))
        assert set(said.groups) == {"heart", "lungs"}
        heart = [item.figures["chars"] for item in items.values() if item.category == "heart"]
        assert math.isclose(said.groups["heart"]["chars"], statistics.mean(heart))
        assert said.groups["heart"]["rows"] == len(heart) == 6


def test_prompts_alone_give_length_and_repetition(workspace: Workspace, tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "prompts.txt").write_text("ba be bi\n发烧 药\n", encoding="utf-8")
    _, found = evaluate(workspace, f"models.runs=[{tiny_model}]", f"data.prompts={tmp_path / 'prompts.txt'}")
    assert set(said_of(found, 0).figures) == {"tokens", "chars", "cut_off", "repetition"}
    assert set(said_of(found, 0).intervals) == {"cut_off"}  # of two answers there is nothing to draw


# -- rewards ----------------------------------------------------------------------------------------------------------
def test_a_reward_run_scores_every_answer(workspace: Workspace, tmp_path: Path, tiny_model: Path, both: str) -> None:
    (tmp_path / "prompts.txt").write_text("ba be bi\n发烧 药\nfo fu\n", encoding="utf-8")
    folder = classifier(tiny_model, tmp_path / "scores")
    run, found = evaluate(
        workspace, both, f"data.prompts={tmp_path / 'prompts.txt'}", f"judging.reward={folder}", "data.tokens=64"
    )
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    encoder = Encoder(load_tokenizer(folder))
    for place in range(2):
        items, replies = items_of(run, place), replies_of(run, place)
        for number, question in questions_of(run).items():
            turns = [*question.messages, {"role": "assistant", "content": replies[number].text}]
            with torch.no_grad():
                score = model(input_ids=torch.tensor([encoder.encode(turns).input_ids])).logits.item()
            assert math.isclose(items[number].figures["reward"], score, abs_tol=1e-3)
        mean = statistics.mean(item.figures["reward"] for item in items.values())
        assert math.isclose(said_of(found, place).figures["reward"], mean)
    assert found.judges.rewarded == [0, 1]
    assert found.judges.reward == "scores"


# -- a judge ----------------------------------------------------------------------------------------------------------
def judged_by(endpoint: Endpoint, *words: str) -> list[str]:
    return ["judging.by=endpoint", f"judging.url={endpoint.url}", "judging.model=m", *words]


def test_a_judge_that_always_names_the_first_answer_decides_nothing(
    workspace: Workspace, chat: None, both: str, endpoint: Endpoint
) -> None:
    endpoint.behaves = lambda prompt, times: "1"
    run, found = evaluate(workspace, both, "data.prompts=chat", *judged_by(endpoint))
    verdicts = verdicts_of(run)
    assert {(each.model, each.outcome) for each in verdicts} == {(1, "tie")}
    assert {(each.first, each.second) for each in verdicts} <= {("answer", "base"), ("", "")}  # "": equal answers
    figures = said_of(found, 1).figures
    assert (figures["win"], figures["wins"], figures["ties"], figures["losses"]) == (0.5, 0, 12, 0)
    assert said_of(found, 1).intervals["win"] == wilson(0.5, 12)
    assert "win" not in said_of(found, 0).figures


def test_a_judge_that_reads_is_followed(workspace: Workspace, chat: None, both: str, endpoint: Endpoint) -> None:
    """It likes the answer with more letters, wherever that stands."""

    def longer(prompt: str, times: int) -> str:
        found = SHOWN.search(prompt)
        assert found is not None
        first, second = (len(text.strip()) for text in found.groups())
        return "Answer 1" if first > second else "Answer 2" if second > first else "I cannot say."

    endpoint.behaves = longer
    run, found = evaluate(workspace, both, "data.prompts=chat", *judged_by(endpoint))
    base, tuned = replies_of(run, 0), replies_of(run, 1)
    for verdict in verdicts_of(run):
        own, other = len(tuned[verdict.number].text), len(base[verdict.number].text)
        if tuned[verdict.number].text != base[verdict.number].text:
            assert verdict.outcome == ("win" if own > other else "loss" if own < other else "")
    values = [item.figures["win"] for item in items_of(run, 1).values() if "win" in item.figures]
    assert math.isclose(said_of(found, 1).figures["win"], statistics.mean(values))
    differing = sum(tuned[number].text != base[number].text for number in base)
    assert len(set(endpoint.prompts)) == 2 * differing  # in both orders
    counts = said_of(found, 1).figures
    assert sum(counts[name] for name in ("wins", "ties", "losses", "unread")) == 12
    assert all(prompt.startswith("Below are two") or "两个编号回答" in prompt for prompt in endpoint.prompts)


def test_a_finished_run_can_judge(workspace: Workspace, chat: None, both: str, tiny_model: Path) -> None:
    """A model of 100 000 random weights says nothing that can be read: no verdict, and no failure."""
    run, found = evaluate(
        workspace, both, "data.prompts=chat", "judging.by=model", f"judging.base={tiny_model}", "data.max_rows=3"
    )
    assert found.judges.compared == [1]
    assert not found.judges.unjudged
    assert {verdict.outcome for verdict in verdicts_of(run)} <= {"", "tie", "win", "loss"}
    assert len(verdicts_of(run)) == 12
    unread = sum(verdict.outcome == "" for verdict in verdicts_of(run))
    assert said_of(found, 1).figures["unread"] == unread


def test_a_judge_that_is_down_is_told_of_and_stops_nothing(workspace: Workspace, chat: None, both: str) -> None:
    words = ["judging.by=endpoint", f"judging.url={unused_url()}", "judging.model=m"]
    _, found = evaluate(workspace, both, "data.prompts=chat", *words)
    assert [each.code for each in found.judges.unjudged] == ["evaluate.judge_down"]
    assert said_of(found, 1).figures["tokens"]
    assert found.judges.compared == []


def test_a_limit_between_the_two_orders_of_a_pair_leaves_it_out(
    workspace: Workspace, chat: None, both: str, endpoint: Endpoint
) -> None:
    endpoint.behaves = lambda prompt, times: "2"
    run, found = evaluate(workspace, both, "data.prompts=chat", *judged_by(endpoint, "judging.limit=5"))
    assert len(endpoint.asked) == 5
    assert [verdict.outcome for verdict in verdicts_of(run) if verdict.said != ("", "")] == ["tie", "tie"]
    assert said_of(found, 1).figures["unread"] == 0


# -- red flags --------------------------------------------------------------------------------------------------------
def test_red_flags_are_asked_and_marked_by_rule(workspace: Workspace, tiny_model: Path) -> None:
    run, found = evaluate(workspace, f"models.runs=[{tiny_model}]", "safety.questions=both")
    assert [(source.name, source.asked, source.safety) for source in found.sources] == [
        ("safety/en", 27, True),
        ("safety/zh", 27, True),
    ]
    items, questions = items_of(run, 0), questions_of(run)
    for number, item in items.items():
        question = questions[number]
        assert set(item.marks) == {*question.needs, *question.forbids}
        assert item.figures["safe"] == float(all(item.marks.values()))
    english = [item.figures["safe"] for number, item in items.items() if number < 27]
    assert said_of(found, 0).figures["safe"] == statistics.mean(english)
    assert said_of(found, 0).intervals["safe"][1] > 0
    assert "emergency" in said_of(found, 0).groups


def test_own_red_flags_that_are_wrong_are_listed_before_the_start(
    workspace: Workspace, tmp_path: Path, tiny_model: Path
) -> None:
    rows = [
        {"question": "q", "needs": {"warns": "mention words=doctor"}},
        {"question": "q", "needs": {"warns": "menton words=doctor"}},
        {"needs": {"warns": "mention words=doctor"}},
        {"question": "q"},
    ]
    path = write_jsonl(tmp_path / "flags.jsonl", rows)
    with pytest.raises(ConfigError) as caught:
        submitted(workspace, f"models.runs=[{tiny_model}]", f"safety.file={path}")
    problems = caught.value.problems
    assert [(problem.code, problem.line) for problem in problems] == [
        ("flags.unusable", None), ("flags.line", 2), ("flags.line", 3), ("flags.line", 4),
    ]  # fmt: skip
    assert {problem.key for problem in problems} == {"safety.file"}
    assert "did you mean 'mention'" in problems[1].message
    write_jsonl(path, rows[:1])
    _, found = evaluate(workspace, f"models.runs=[{tiny_model}]", f"safety.file={path}")
    assert [(source.name, source.safety) for source in found.sources] == [("flags.jsonl", True)]


# -- settings ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "code", "key"),
    [
        (["data.rows=[d]"], "evaluate.nobody", "models.runs"),
        (["models.runs=[m]", "judging.by=endpoint"], "evaluate.no_endpoint", "judging.url"),
        (["models.runs=[m]", "judging.by=model"], "evaluate.no_judge", "judging.base"),
        (["models.runs=[m]", "report.domain=[d]", "report.general=[d]"], "evaluate.both_sets", "report.general"),
    ],
)
def test_settings_that_do_not_go_together(words: list[str], code: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve("evaluate", overrides=words)
    assert [(problem.code, problem.key) for problem in caught.value.problems] == [(code, key)]


def test_a_prompt_for_the_judge_without_answers_is_refused() -> None:
    with pytest.raises(ConfigError, match="answers"):
        resolve("evaluate", overrides=["models.runs=[m]", "judging.prompt_en=Which is better? {question}"])


def test_who_may_judge_is_looked_at_before_the_start(workspace: Workspace, tiny_model: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        submitted(workspace, f"models.runs=[{tiny_model}]", "safety.questions=en", f"judging.reward={tiny_model}")
    assert [(each.code, each.key) for each in caught.value.problems] == [("parent.scores_nothing", "judging.reward")]


# -- resuming ---------------------------------------------------------------------------------------------------------
def test_a_resumed_comparison_asks_no_judge_twice(
    workspace: Workspace, tmp_path: Path, tiny_model: Path, chat: None, both: str, endpoint: Endpoint
) -> None:
    endpoint.behaves = lambda prompt, times: "2"
    folder = classifier(tiny_model, tmp_path / "scores")
    context = submitted(workspace, both, "data.prompts=chat", f"judging.reward={folder}", *judged_by(endpoint))
    recipe.main(context)
    run = context.run
    whole, asked = found_by(run), len(endpoint.asked)
    items = {model: items_of(run, model) for model in range(2)}
    # As a stop would have left it: the first model's answers scored, the second's not, nothing compared.
    part = whole.model_copy(deep=True)
    part.judges.rewarded, part.judges.compared = [0], []
    write_record(evaluation_file(run.output), part)
    set_aside(run)
    endpoint.models = 503  # the judge is down, and not needed
    recipe.main(context)
    again = found_by(run)
    assert len(endpoint.asked) == asked  # every reply was kept
    assert (again.judges.rewarded, again.judges.compared) == ([0, 1], [1])
    assert again.said == whole.said
    assert again.models == whole.models  # none was loaded again: what was known of its tokenizer and template stays
    assert all(model.tokenizer and model.template for model in again.models)
    assert {model: items_of(run, model) for model in range(2)} == items
    assert len(verdicts_of(run)) == 12
    lines = items_file(run.output).read_text(encoding="utf-8").splitlines()
    seen = [(row["model"], row["number"], tuple(sorted(row["figures"]))) for row in map(json.loads, lines)]
    assert len(seen) == len(set(seen))
