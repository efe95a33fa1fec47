"""The stage evaluate: its figures against the models' own forward, its answers, and what survives a stop."""

from __future__ import annotations

import csv
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from core.__main__ import main
from core.configs.files import resolve
from core.configs.models import Answers
from core.configs.stages import STAGES
from core.data.encode.encoding import Encoder
from core.data.encode.tokenizer import load_tokenizer
from core.data.store.library import import_file
from core.errors import ConfigError, DataError, ModelError, StopRequested
from core.evaluation import notes
from core.evaluation.answers import Respondent, answer_all, asked
from core.evaluation.decoding import nucleus
from core.jobs.attempts import set_aside
from core.jobs.pinning import pin
from core.models.loading import load_model
from core.recipes import evaluate as recipe
from core.records_evaluation import (
    Answering,
    Cell,
    Evaluation,
    Question,
    Reply,
    answers_file,
    answers_sheet,
    evaluation_file,
    prompts_file,
    table_sheet,
)
from core.report import Report, RunContext
from core.rundir import RunDir, read_jsonl, read_record, write_record
from core.workspace import Workspace
from tests.conftest import build_tokenizer, conversations, write_jsonl
from tests.models_tools import make_run

SETTINGS = ["devices.use=cpu", "models.dtype=fp32", "data.tokens=512", "generation.max_new_tokens=8"]


def texts(count: int) -> list[dict]:
    return [{"text": " ".join(turn["value"] for turn in row["conversations"])} for row in conversations(count, turns=3)]


def pairs(count: int) -> list[dict]:
    rows = []
    for row in conversations(count):
        asked, said = (turn["value"] for turn in row["conversations"])
        rows.append({"prompt": asked, "chosen": said, "rejected": said[::-1] + " 不"})
    return rows


@pytest.fixture
def datasets(workspace: Workspace, tmp_path: Path) -> None:
    """The datasets chat, docs and pairs, a file of prompts beside them."""
    import_file(workspace, write_jsonl(tmp_path / "chat.jsonl", conversations(12, turns=2)))
    import_file(workspace, write_jsonl(tmp_path / "docs.jsonl", texts(9)))
    import_file(workspace, write_jsonl(tmp_path / "pairs.jsonl", pairs(10)))
    (tmp_path / "prompts.txt").write_text("ba be bi\n发烧 药\nfo fu\n", encoding="utf-8")


def submitted(workspace: Workspace, *words: str) -> RunContext:
    """A run as the supervisor hands it to the recipe. The tests call it: importing torch takes long."""
    config = pin(workspace, STAGES["evaluate"], resolve("evaluate", overrides=[*SETTINGS, *words]))
    run = RunDir.create(workspace.runs_dir, "evaluate")
    return RunContext(run, workspace, config, Report(run))


def evaluate(workspace: Workspace, *words: str) -> tuple[RunDir, Evaluation]:
    context = submitted(workspace, *words)
    recipe.main(context)
    return context.run, found_by(context.run)


def found_by(run: RunDir) -> Evaluation:
    found = read_record(evaluation_file(run.output), Evaluation)
    assert found is not None
    return found


def cell_of(found: Evaluation, model: int, exam: int) -> Cell:
    cell = found.cell(model, exam)
    assert cell is not None
    return cell


def refusal_of(each: Cell | Answering) -> str:
    assert each.refusal is not None
    return each.refusal.code


def own_loss(model: torch.nn.Module, ids: np.ndarray, labels: np.ndarray) -> tuple[float, int]:
    """(Σ −log p of the labels, how many) by the model's own forward."""
    with torch.no_grad():
        logits = model(torch.from_numpy(ids.astype(np.int64))[None]).logits[0, :-1]
    wanted = torch.from_numpy(labels[1:].astype(np.int64))
    total = torch.nn.functional.cross_entropy(logits, wanted, ignore_index=-100, reduction="sum").item()
    return total, int((wanted != -100).sum())


def test_a_base_and_its_run_in_one_table(
    workspace: Workspace, tmp_path: Path, tiny_model: Path, datasets: None
) -> None:
    trained = make_run(workspace, tiny_model, name="tuned")
    words = [f"models.runs=[{tiny_model}, tuned]", "data.rows=[chat, docs, pairs]"]
    words.append(f"data.prompts={tmp_path / 'prompts.txt'}")
    assert main(["--workspace", str(workspace.path), "evaluate", *SETTINGS, *words]) == 0
    run = next(run for run in workspace.runs() if run.stage == "evaluate")
    found = found_by(run)
    assert run.config()["models"]["runs"] == [str(tiny_model), trained.id]
    assert [(model.name, model.adapters) for model in found.models] == [(tiny_model.name, 0), ("tuned", 1)]
    assert [exam.kind for exam in found.exams] == ["messages", "text", "preference"]
    assert len(found.cells) == 6
    assert all(cell.refusal is None and cell.figures for cell in found.cells)
    base, tuned = cell_of(found, 0, 0), cell_of(found, 1, 0)
    assert base.figures["loss"] != tuned.figures["loss"]

    model = load_model(tiny_model, dtype=torch.float32, device="cpu")
    encoder = Encoder(load_tokenizer(tiny_model), max_length=1024)
    sums = []
    for row in conversations(12, turns=2):
        said = [{"role": ["user", "assistant"][at % 2], "content": turn["value"]}
                for at, turn in enumerate(row["conversations"])]  # fmt: skip
        [((ids, labels), _)] = encoder.encode_batch([said])
        sums.append(own_loss(model, ids, labels))
    nats, labels = (sum(column) for column in zip(*sums, strict=True))
    assert math.isclose(base.figures["loss"], nats / labels, rel_tol=1e-3)
    assert base.figures["tokens"] == labels
    assert math.isclose(base.figures["perplexity"], math.exp(nats / labels), rel_tol=1e-2)

    judged = cell_of(found, 0, 2)
    assert (judged.by, judged.rows) == ("likelihood", 10)
    ahead = []
    for row in pairs(10):
        likely = []
        for answer in (row["chosen"], row["rejected"]):
            turns = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": answer}]
            encoded = encoder.encode(turns)
            nats, count = own_loss(model, np.array(encoded.input_ids), np.array(encoded.labels))
            likely.append(-nats / count)
        ahead.append(likely[0] - likely[1])
    assert math.isclose(judged.figures["margin"], sum(ahead) / 10, abs_tol=1e-3)
    assert judged.figures["accuracy"] == sum(each > 0 for each in ahead) / 10

    asked, _ = read_jsonl(prompts_file(run.output))
    said, _ = read_jsonl(answers_file(run.output))
    assert [row["messages"][-1]["content"] for row in asked] == ["ba be bi", "发烧 药", "fo fu"]
    assert sorted((row["model"], row["number"]) for row in said) == [(m, n) for m in range(2) for n in range(3)]
    assert [each.answers for each in found.answering] == [3, 3]
    [first, *_] = csv.DictReader(answers_sheet(run.output).open(encoding="utf-8-sig"))
    assert first["prompt"] == "ba be bi"
    assert {tiny_model.name, "tuned"} <= set(first)


@pytest.mark.parametrize(("words", "stride"), [([], 12), (["data.stride=24"], 23)])
def test_bits_per_byte_of_documents_are_those_of_their_text(
    workspace: Workspace, tmp_path: Path, tiny_model: Path, datasets: None, words: list[str], stride: int
) -> None:
    """Through a window of 24 tokens that moves on by half of that, or so far that two windows share one token."""
    _, found = evaluate(workspace, f"models.runs=[{tiny_model}]", "data.rows=[docs]", "data.max_length=24", *words)
    [cell] = found.cells
    model, tokenizer = load_model(tiny_model, dtype=torch.float32, device="cpu"), load_tokenizer(tiny_model)
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    nats = text_nats = bits_of = labels = 0.0
    for row in texts(9):
        ids = np.array([*tokenizer(row["text"], add_special_tokens=False)["input_ids"], end])
        done = 1  # of its tokens, which are predicted once; the first by none
        for start in range(0, len(ids), stride):
            window = ids[start : start + 24]
            if start + len(window) <= done:
                break
            new = np.arange(start, start + len(window)) >= done
            total, count = own_loss(model, window, np.where(new, window, -100))
            last = own_loss(model, window, np.where(np.arange(len(window)) == len(window) - 1, window, -100))[0]
            nats, labels, done = nats + total, labels + count, start + len(window)
            text_nats += total - (last if window[-1] == end else 0)
        assert done == len(ids)
        bits_of += len(row["text"].encode()) - len(tokenizer.decode(ids[:1]).encode())
    assert cell.figures["tokens"] == labels
    assert math.isclose(cell.figures["loss"], nats / labels, rel_tol=1e-3)
    assert math.isclose(cell.figures["bits_per_byte"], text_nats / math.log(2) / bits_of, rel_tol=1e-3)


def test_what_cannot_be_measured_says_why_in_its_place(
    workspace: Workspace, tmp_path: Path, tiny_model: Path, datasets: None
) -> None:
    bare = copy_without_template(tiny_model, tmp_path / "bare")
    words = [f"models.runs=[{bare}]", "data.rows=[chat, docs]", f"data.prompts={tmp_path / 'prompts.txt'}"]
    _, found = evaluate(workspace, *words)
    assert refusal_of(cell_of(found, 0, 0)) == "model.no_template"
    assert cell_of(found, 0, 1).figures
    assert [refusal_of(each) for each in found.answering] == ["model.no_template"]
    _, found = evaluate(workspace, *words, "models.template=chatml")
    assert all(cell.figures for cell in found.cells)
    assert found.models[0].template == "chatml"
    with pytest.raises(ModelError) as caught:  # nothing at all could be measured
        evaluate(workspace, f"models.runs=[{bare}]", "data.rows=[chat]")
    assert caught.value.code == "model.no_template"


def test_a_model_that_cannot_be_loaded_does_not_stop_the_others(
    workspace: Workspace, tmp_path: Path, tiny_model: Path, datasets: None
) -> None:
    broken = Path(shutil.copytree(tiny_model, tmp_path / "broken"))
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    _, found = evaluate(workspace, f"models.runs=[{broken}, {tiny_model}]", "data.rows=[docs]")
    assert refusal_of(cell_of(found, 0, 0)) == "model.missing_weights"
    assert cell_of(found, 1, 0).figures


def test_a_model_with_broken_weights_does_not_stop_the_others(
    workspace: Workspace, tmp_path: Path, tiny_model: Path, datasets: None
) -> None:
    diverged, folder = load_model(tiny_model, dtype=torch.float32, device="cpu"), tmp_path / "diverged"
    torch.nn.init.constant_(diverged.get_input_embeddings().weight, math.nan)
    diverged.save_pretrained(folder)
    build_tokenizer(folder)
    _, found = evaluate(workspace, f"models.runs=[{folder}, {tiny_model}]", f"data.prompts={tmp_path / 'prompts.txt'}")
    assert refusal_of(found.answering[0]) == "serve.not_finite"
    assert found.answering[1].answers == 3


def test_a_reward_model_judges_pairs_by_its_scores(workspace: Workspace, tmp_path: Path, tiny_model: Path) -> None:
    import_file(workspace, write_jsonl(tmp_path / "pairs.jsonl", pairs(10)))
    import_file(workspace, write_jsonl(tmp_path / "docs.jsonl", texts(3)))
    (tmp_path / "prompts.txt").write_text("ba\n", encoding="utf-8")
    folder = classifier(tiny_model, tmp_path / "scores")
    run, found = evaluate(
        workspace, f"models.runs=[{folder}]", "data.rows=[pairs, docs]", f"data.prompts={tmp_path / 'prompts.txt'}"
    )
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    encoder = Encoder(load_tokenizer(folder))
    margins = []
    for row in pairs(10):
        scores = []
        for said in (row["chosen"], row["rejected"]):
            turns = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": said}]
            ids = torch.tensor([encoder.encode(turns).input_ids])
            with torch.no_grad():
                scores.append(model(input_ids=ids).logits.item())
        margins.append(scores[0] - scores[1])
    judged = cell_of(found, 0, 0)
    assert judged.by == "score"
    assert math.isclose(judged.figures["margin"], sum(margins) / 10, abs_tol=1e-4)
    assert judged.figures["accuracy"] == sum(margin > 0 for margin in margins) / 10
    assert refusal_of(cell_of(found, 0, 1)) == "evaluate.only_scores"
    assert [refusal_of(each) for each in found.answering] == ["evaluate.only_scores"]
    table = list(csv.DictReader(table_sheet(run.output).open(encoding="utf-8-sig")))
    assert [row["dataset"].split("@")[0] for row in table] == ["pairs", "docs"]
    assert float(table[0]["accuracy"]) == judged.figures["accuracy"]
    assert "predicts no text" in table[1]["no_figure_because"]


def classifier(model: Path, folder: Path) -> Path:
    """The tiny model with a random score head, as a plain sequence-classification folder."""
    torch.manual_seed(5)
    made = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1, dtype=torch.float32)
    torch.nn.init.normal_(made.score.weight)
    made.save_pretrained(folder)
    build_tokenizer(folder)
    return folder


def copy_without_template(model: Path, folder: Path) -> Path:
    shutil.copytree(model, folder)
    build_tokenizer(folder, template=None)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    return folder


def test_wrong_words_are_told_before_anything_starts(workspace: Workspace, tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        pin(workspace, STAGES["evaluate"], resolve("evaluate", overrides=[f"models.runs=[nobody, {tiny_model}]"]))
    assert {problem.key for problem in caught.value.problems} == {"models.runs", "data.rows"}
    assert {problem.code for problem in caught.value.problems} >= {"evaluate.nothing"}
    import_file(workspace, write_jsonl(tmp_path / "ranked.jsonl", [RANKED]))
    with pytest.raises(DataError) as refused:
        evaluate(workspace, f"models.runs=[{tiny_model}]", "data.rows=[ranked]")
    assert refused.value.code == "evaluate.kind"


RANKED = {"prompt": "ba", "answers": [{"content": "be", "score": 1.0}, {"content": "bi", "score": 0.0}]}


# -- answers ----------------------------------------------------------------------------------------------------------
def respond(model: Path, count: int, tokens: int, temperature: float) -> dict[int, str]:
    """Answers by number, with batches of `tokens` tokens."""
    loaded, tokenizer = load_model(model, dtype=torch.float32, device="cpu"), load_tokenizer(model)
    encoder = Encoder(tokenizer)
    respondent = Respondent(loaded, encoder, tokenizer, tuple(encoder.stop_ids), 512)
    rows = conversations(count)
    asked = [
        Question(number=at, line=at, messages=[{"role": "user", "content": row["conversations"][0]["value"]}])
        for at, row in enumerate(rows)
    ]
    settings = Answers(max_new_tokens=12, temperature=temperature, top_p=0.95)
    replies = answer_all(respondent, asked, settings, place=0, seed=3, tokens=tokens, check_stop=lambda: None)
    return {reply.number: reply.text for reply in replies}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_answer_does_not_depend_on_what_else_is_asked(tiny_model: Path, temperature: float) -> None:
    alone, together = (respond(tiny_model, 6, tokens, temperature) for tokens in (64, 4096))
    few = respond(tiny_model, 3, 4096, temperature)
    assert alone == together
    assert few == {number: alone[number] for number in range(3)}
    assert temperature == 0 or len(set(alone.values())) > 1


def test_the_nucleus_keeps_the_fewest_that_reach_its_share() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.05, 0.9, 0.03, 0.02]]).log()
    kept = nucleus(logits, 0.7).isfinite()
    assert kept.tolist() == [[True, True, False, False], [False, True, False, False]]


def turn(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_a_prompt_that_leaves_no_room_is_said_to_be_too_long(tiny_model: Path) -> None:
    loaded, tokenizer = load_model(tiny_model, dtype=torch.float32, device="cpu"), load_tokenizer(tiny_model)
    encoder = Encoder(tokenizer)
    asked = [Question(number=0, line=1, messages=[{"role": "user", "content": "ba " * 600}])]
    respondent = Respondent(loaded, encoder, tokenizer, tuple(encoder.stop_ids), 512)
    [reply] = answer_all(respondent, asked, Answers(), place=0, seed=1, tokens=64, check_stop=lambda: None)
    assert (reply.end, reply.text) == ("too_long", "")
    # One that nearly fills the context leaves its neighbour's answer as long as it may be.
    fillers = ["ba " * count for count in range(400, 520)]
    near = next(text for text in reversed(fillers) if len(encoder.prompt_ids([turn(text)])) <= 509)
    both = [Question(number=at, line=at, messages=[turn(text)]) for at, text in enumerate((near, "ba"))]
    respondent = replace(respondent, stop_ids=())
    settings = Answers(max_new_tokens=8, temperature=0.0)
    said = answer_all(respondent, both, settings, place=0, seed=1, tokens=4096, check_stop=lambda: None)
    lengths = {reply.number: reply.tokens for reply in said}
    assert lengths == {0: 512 - len(encoder.prompt_ids([turn(near)])), 1: 8}


def test_what_is_asked_of_each_kind_of_row() -> None:
    user = [{"role": "user", "content": "q"}]
    said = {"role": "assistant", "content": "a"}
    assert asked("messages", {"messages": [*user, said]}) == (user, "a")
    assert asked("preference", {"prompt": user, "chosen": [said], "rejected": [said]}) == (user, "a")
    assert asked("prompt", {"prompt": user}) == (user, None)
    assert asked("text", {"text": "q"}) == (user, None)
    assert (
        asked("ranked", {"prompt": user, "answers": [{"content": "b", "score": 0.0}, {"content": "a", "score": 1.0}]})[
            1
        ]
        == "a"
    )
    question, answer = asked("choice", {"question": "q", "choices": ["x", "y"], "answer": "B"})
    assert question[0]["content"] == "q\nA. x\nB. y"
    assert answer == "B"


# -- stopping ---------------------------------------------------------------------------------------------------------
def test_a_resumed_comparison_goes_on_where_it_stopped(
    workspace: Workspace, tmp_path: Path, tiny_model: Path, datasets: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Evaluation] = []  # whatever a kill may leave

    def watched(path: Path, found: Evaluation) -> None:
        written.append(found.model_copy(deep=True))
        write_record(path, found)

    monkeypatch.setattr(notes, "write_record", watched)
    words = [f"models.runs=[{tiny_model}]", "data.rows=[chat, docs]", f"data.prompts={tmp_path / 'prompts.txt'}"]
    context = submitted(workspace, *words)
    run = context.run
    recipe.main(context)
    whole = found_by(run)
    # As a stop would have left it: the first figure, one answer.
    part = whole.model_copy(update={"cells": whole.cells[:1], "answering": []}, deep=True)
    part.cells[0].seconds = 12345.0
    write_record(evaluation_file(run.output), part)
    rows, _ = read_jsonl(answers_file(run.output))
    answers_file(run.output).write_text(json.dumps({**rows[0], "text": "kept"}) + "\n", encoding="utf-8")
    set_aside(run)
    recipe.main(context)
    again = found_by(run)
    assert [cell.seconds == 12345.0 for cell in again.cells] == [True, False]
    assert again.cells[1].figures == whole.cells[1].figures
    replies = [Reply.model_validate(row) for row in read_jsonl(answers_file(run.output))[0]]
    assert [reply.text for reply in replies if reply.number == rows[0]["number"]] == ["kept"]
    assert len(replies) == 3
    assert again.answering[0].answers == 3
    # Killed when all had been answered, before that was counted.
    write_record(evaluation_file(run.output), again.model_copy(update={"answering": [], "said": []}))
    set_aside(run)
    recipe.main(context)
    counted = found_by(run)
    assert counted.said == again.said
    assert counted.answering[0].answers == 3
    assert all({each.model for each in found.answering} <= {said.model for said in found.said} for found in written)


def test_a_stop_between_two_packs_is_seen(workspace: Workspace, tiny_model: Path, datasets: None) -> None:
    context = submitted(workspace, f"models.runs=[{tiny_model}]", "data.rows=[chat, docs]")
    context.run.stop_file.touch()
    with pytest.raises(StopRequested):
        recipe.main(context)
