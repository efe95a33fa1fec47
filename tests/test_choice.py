"""Multiple choice: files of the published sets, how they are asked, which examples, and what is chosen."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from core.__main__ import main
from core.configs.files import resolve
from core.configs.stages import STAGES
from core.data.bring.importing import Order, import_files
from core.data.encode.encoding import Encoder
from core.data.encode.tokenizer import load_tokenizer
from core.data.store.library import import_file
from core.errors import ConfigError, DataError
from core.evaluation.choice import Asked, Choices
from core.evaluation.choice_prompts import Examples, Exercise, Style
from core.evaluation.pairs import preference
from core.jobs.pinning import pin
from core.models.loading import load_model
from core.records_evaluation import Asking, Cell, Item, items_file
from core.rundir import read_jsonl
from core.workspace import Workspace
from tests.conftest import build_tokenizer, conversations, write_jsonl
from tests.test_evaluate import classifier, evaluate, refusal_of


def table(path: Path, head: str, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


def exam(workspace: Workspace, model: Path, *words: str) -> tuple[Cell, list[Item]]:
    run, found = evaluate(workspace, f"models.runs=[{model}]", "data.rows=[exam]", *words)
    return found.cells[0], [Item.model_validate(row) for row in read_jsonl(items_file(run.output))[0]]


def log_likelihood(model: PreTrainedModel, ids: Sequence[int], continuation: Sequence[int]) -> float:
    """Σ log p of the continuation behind `ids`, by the model's own forward over one row."""
    whole = torch.tensor([[*ids, *continuation]])
    with torch.no_grad():
        logprobs = model(whole).logits[0].log_softmax(-1)
    return sum(logprobs[len(ids) + at - 1, token].item() for at, token in enumerate(continuation))


@pytest.fixture
def model(tiny_model: Path) -> PreTrainedModel:
    return load_model(tiny_model, dtype=torch.float32, device="cpu")


# -- published files --------------------------------------------------------------------------------------------------
def test_c_eval_as_it_is_published(workspace: Workspace, tmp_path: Path, tiny_model: Path) -> None:
    """A table for each subject in dev and in val; examples come from the same subject."""
    head = "id,question,A,B,C,D,answer,explanation"
    for subject in ("law", "physician"):
        rows = [f"{at},ba {subject} {at},be,bi,bo,bu,{'ABCD'[at % 4]},da" for at in range(7)]
        table(tmp_path / "dev" / f"{subject}_dev.csv", head, *rows[:2])
        table(tmp_path / "val" / f"{subject}_val.csv", head.rpartition(",")[0], *(row[:-3] for row in rows[2:]))
    import_files(workspace, sorted((tmp_path / "val").iterdir()), Order("exam"))
    import_files(workspace, sorted((tmp_path / "dev").iterdir()), Order("dev"))
    cell, items = exam(workspace, tiny_model, "data.dev=dev", "data.shots=2")
    assert {name: figures["rows"] for name, figures in cell.groups.items()} == {"law": 5, "physician": 5}
    assert cell.figures["macro"] == pytest.approx(np.mean([each["accuracy"] for each in cell.groups.values()]))
    assert [item.category for item in items] == ["law"] * 5 + ["physician"] * 5
    assert [item.right for item in items][:5] == ["C", "D", "A", "B", "C"]
    assert cell.figures["fewer_shots"] == 0


def test_cmmlu_and_medqa_as_they_are_published(workspace: Workspace, tmp_path: Path, tiny_model: Path) -> None:
    table(tmp_path / "anatomy.csv", ",Question,A,B,C,D,Answer", "0,ba,be,bi,bo,bu,D", "1,da,de,di,do,du,A")
    usmle = {
        "question": "ba be", "answer": "bi", "options": {"A": "be", "B": "bi", "C": "bo", "D": "bu", "E": "da"},
        "meta_info": "step1", "answer_idx": "B",
    }  # fmt: skip
    write_jsonl(tmp_path / "medqa.jsonl", [usmle, {**usmle, "question": "bo", "answer_idx": "E", "answer": "da"}])
    for name, letters in (("anatomy.csv", ["D", "A"]), ("medqa.jsonl", ["B", "E"])):
        dataset = import_file(workspace, tmp_path / name)
        run, found = evaluate(workspace, f"models.runs=[{tiny_model}]", f"data.rows=[{dataset.ref}]")
        rows, _ = read_jsonl(items_file(run.output))
        assert [row["right"] for row in rows] == letters
        assert found.cells[0].rows == 2
        assert found.cells[0].figures["chance"] == pytest.approx(0.25 if name == "anatomy.csv" else 0.2)


CMB = {
    "exam_type": "医师考试", "exam_class": "执业医师", "exam_subject": "内科", "question_type": "多项选择题",
    "option": {"A": "发烧", "B": "糖尿病", "C": "血压", "D": "药", "E": ""},
}  # fmt: skip


def test_cmb_takes_the_exact_set(
    workspace: Workspace, tmp_path: Path, tiny_model: Path, model: PreTrainedModel
) -> None:
    """The likeliest of all sets of two or more letters, each with the line break that ends an example's answer."""
    rows = [
        {**CMB, "question": "医生 药", "answer": "ABD"},
        {**CMB, "question": "血压", "answer": "C", "question_type": "单项选择题", "exam_subject": "外科"},
        {**CMB, "question": "发烧", "answer": "BD"},
        {**CMB, "question": "药", "option": {"A": "发烧", "B": "药"}, "answer": "AB"},  # nothing to choose from
    ]
    (tmp_path / "exam.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    import_file(workspace, tmp_path / "exam.json")
    cell, items = exam(workspace, tiny_model)
    tokenizer = load_tokenizer(tiny_model)
    assert (cell.rows, cell.left_out) == (3, 1)
    for item, row in zip(items, rows[:3], strict=True):
        text = f"{row['question']}\n" + "".join(f"{letter}. {row['option'][letter]}\n" for letter in "ABCD") + "答案："
        before = tokenizer(text)["input_ids"]
        sets = ["AB", "AC", "AD", "BC", "BD", "CD", "ABC", "ABD", "ACD", "BCD", "ABCD"]
        scores = {}
        for letters in sets if len(row["answer"]) > 1 else "ABCD":
            end = "\n" if len(row["answer"]) > 1 else ""
            scores[letters] = log_likelihood(
                model, before, tokenizer(f"{text} {letters}{end}")["input_ids"][len(before) :]
            )
        best = max(scores, key=lambda letters: scores[letters])
        assert (item.said, item.right, item.figures["correct"]) == (best, row["answer"], float(best == row["answer"]))
        wrong = max(score for letters, score in scores.items() if letters != row["answer"])
        assert item.figures["margin"] == pytest.approx(scores[row["answer"]] - wrong, abs=1e-4)
    assert cell.figures["multiple"] == 2
    assert set(cell.groups) == {"内科", "外科"}


# -- how it is asked --------------------------------------------------------------------------------------------------
FIRST = Exercise(0, " What helps? ", ("Rest", "Salt"), "A", "heart")
SECOND = Exercise(1, "What harms?", ("Sleep", "Smoke", "Tea"), "BC", "lungs")


def test_the_strings_are_those_of_the_published_tasks() -> None:
    english = Style(Asking(shots=1), "en")
    listed = "What helps?\nA. Rest\nB. Salt\nAnswer:"
    assert english.text(FIRST, []) == listed
    assert english.text(SECOND, [FIRST]) == f"{listed} A\n\nWhat harms?\nA. Sleep\nB. Smoke\nC. Tea\nAnswer:"
    assert [said for _, said in english.candidates(FIRST)] == ["A", "B"]
    assert [letters for letters, _ in english.candidates(SECOND)] == ["AB", "AC", "BC", "ABC"]
    texts = Style(Asking(by="texts"), "zh")
    assert texts.text(FIRST, []) == "问题：What helps?\n答案："
    assert texts.candidates(FIRST) == [("A", "Rest"), ("B", "Salt")]
    assert texts.text(SECOND, []).endswith("C. Tea\n答案：")  # several answers: by letters all the same
    told = Style(Asking(preamble="On {category}."), "en")
    assert told.text(FIRST, []) == f"On heart.\n\n{listed}"
    said = told.messages(FIRST, [SECOND])
    assert [turn["role"] for turn in said] == ["system", "user", "assistant", "user"]
    assert (said[0]["content"], said[2]["content"], said[3]["content"]) == ("On heart.", "BC", listed)


def test_examples_are_the_first_of_the_same_category_and_never_the_question() -> None:
    dev = [Exercise(at, f"q{at}", ("a", "b", "c"), "AB" if at == 2 else "A", "xyy"[at % 3]) for at in range(6)]
    examples = Examples(dev, 2)
    assert [one.row for one in examples.of(Exercise(9, "new", ("a", "b"), "A", "y"))] == [1, 4]
    assert [one.row for one in examples.of(Exercise(9, "new", ("a", "b", "c"), "BC", "y"))] == [2, 1]
    assert [one.row for one in examples.of(dev[1])] == [4, 5]
    assert [one.row for one in examples.of(Exercise(9, "new", ("a", "b"), "A", None))] == [0, 1]
    assert [one.row for one in Examples(dev, 4).of(Exercise(9, "new", ("a", "b"), "A", "x"))] == [0, 3, 1, 4]


def questions(count: int) -> list[dict]:
    rows = []
    for at, row in enumerate(conversations(count, seed=1)):
        asked, said = (turn["value"] for turn in row["conversations"])
        choices = [said, asked, " ".join(sorted(said.split()))]
        rows.append({"question": asked, **dict(zip("ABC", choices, strict=True)), "answer": "ABC"[at % 3]})
    return rows


def test_through_the_chat_template_examples_are_turns(
    workspace: Workspace, tmp_path: Path, tiny_model: Path, model: PreTrainedModel
) -> None:
    rows = questions(6)
    import_file(workspace, write_jsonl(tmp_path / "exam.jsonl", rows[1:]))
    import_file(workspace, write_jsonl(tmp_path / "dev.jsonl", rows[:1]))
    words = ["data.dev=dev", "data.shots=1", "data.choice_chat=true", "data.choice_preamble=be"]
    _, items = exam(workspace, tiny_model, *words)
    tokenizer = load_tokenizer(tiny_model)
    encoder = Encoder(tokenizer)
    asked = [
        f"{row['question'].strip()}\n" + "".join(f"{letter}. {row[letter]}\n" for letter in "ABC") + "答案："
        for row in rows
    ]
    for item, text in zip(items, asked[1:], strict=True):
        turns = [("system", "be"), ("user", asked[0]), ("assistant", rows[0]["answer"]), ("user", text)]
        ids = encoder.prompt_ids([{"role": role, "content": said} for role, said in turns])
        for letter in "ABC":
            expected = log_likelihood(model, ids, tokenizer(letter)["input_ids"])
            assert item.figures[letter] == pytest.approx(expected, abs=1e-4)


def test_examples_go_from_the_front_where_the_context_is_short(
    workspace: Workspace, tmp_path: Path, tiny_model: Path, model: PreTrainedModel
) -> None:
    """512 tokens: the first question leaves room for all three examples, the second for two, the third for none of
    itself."""
    dev = [{"question": f"ba {'be ' * 100}{at}", "A": "bi", "B": "bo", "answer": "A"} for at in range(3)]
    rows = [{"question": f"ba {'bu ' * count}", "A": "bi", "B": "bo", "answer": "B"} for count in (20, 200, 600)]
    import_file(workspace, write_jsonl(tmp_path / "dev.jsonl", dev))
    import_file(workspace, write_jsonl(tmp_path / "exam.jsonl", rows))
    cell, items = exam(workspace, tiny_model, "data.dev=dev", "data.shots=3")
    assert (cell.rows, cell.left_out, cell.figures["fewer_shots"]) == (2, 1, 1)
    tokenizer = load_tokenizer(tiny_model)
    texts = [f"{row['question'].strip()}\nA. bi\nB. bo\nAnswer:" for row in (*dev, *rows)]
    for item, first, text in zip(items, (0, 1), texts[3:], strict=False):
        before = "".join(f"{each} A\n\n" for each in texts[first:3]) + text
        ids = tokenizer(before)["input_ids"]
        assert len(ids) <= 512
        expected = log_likelihood(model, ids, tokenizer(f"{before} A")["input_ids"][len(ids) :])
        assert item.figures["A"] == pytest.approx(expected, abs=1e-4)
    import_file(workspace, write_jsonl(tmp_path / "long.jsonl", rows[2:]))
    with pytest.raises(DataError) as caught:
        evaluate(workspace, f"models.runs=[{tiny_model}]", "data.rows=[long]")
    assert (caught.value.code, caught.value.params["context"]) == ("evaluate.no_question", 512)


# -- how it is computed -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["mistral", "qwen3", "bloom"])
def test_other_models_get_the_same_likelihoods(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """A sliding window of 24 tokens, norms on queries and keys; and one whose attention cannot be switched."""
    folder = tmp_path / kind
    tokenizer = build_tokenizer(folder)
    torch.manual_seed(2)
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 32, "initializer_range": 0.2}
    own = {
        "mistral": {"sliding_window": 24, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48},
        "qwen3": {"num_attention_heads": 4, "num_key_value_heads": 1, "intermediate_size": 48, "head_dim": 8},
        "bloom": {"n_head": 4, "n_layer": 2},
    }[kind]
    config = AutoConfig.for_model(kind, num_hidden_layers=2, **{**sizes, **own})
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    rows = questions(9)
    import_file(workspace, write_jsonl(tmp_path / "exam.jsonl", rows[2:]))
    import_file(workspace, write_jsonl(tmp_path / "dev.jsonl", rows[:2]))
    _, items = exam(workspace, folder, "data.dev=dev", "data.shots=2", "data.choice_by=texts", "data.tokens=64")
    assert f"examples computed once: {'off, because' if kind == 'bloom' else 'on'}" in capsys.readouterr().out
    plain = load_model(folder, dtype=torch.float32, device="cpu")
    before = "".join(f"问题：{row['question']}\n答案： {row[row['answer']]}\n\n" for row in rows[:2])
    for item, row in zip(items, rows[2:], strict=True):
        text = f"{before}问题：{row['question']}\n答案："
        ids = tokenizer(text)["input_ids"]
        for letter in "ABC":
            expected = log_likelihood(plain, ids, tokenizer(f"{text} {row[letter]}")["input_ids"][len(ids) :])
            assert item.figures[letter] == pytest.approx(expected, abs=2e-4)


def test_figures_of_answers_worked_by_hand() -> None:
    def asked(at: int, choices: tuple[str, ...], answer: str, category: str) -> Asked:
        exercise = Exercise(at, "q", choices, answer, category)
        return Asked(exercise, tuple(exercise.letters), choices, np.zeros(1, np.int32), (), (), ())

    long = ("ab", "abcdef")
    paper = [asked(0, long, "B", "x"), asked(1, long, "A", "x"), asked(2, ("发", "abc"), "B", "y")]
    sums = [np.array([-1.0, -2.0]), np.array([-1.0, -2.4]), np.array([-2.0, -2.5])]
    chosen = Choices(paper, sums)
    figures = chosen.figures(np.arange(3))
    assert figures["accuracy"] == pytest.approx(1 / 3)  # A, A, A
    assert figures["accuracy_norm"] == pytest.approx(2 / 3)  # −1/2, −2/6: B; −1/2, −2.4/6: B; −2, −2.5/3: B
    assert figures["accuracy_bytes"] == pytest.approx(1 / 3)  # 发 has three bytes: −2/3 and −2.5/3 give A
    assert figures["accuracy_error"] == pytest.approx(math.sqrt(2 / 9 / 2))
    assert chosen.macro()["macro"] == pytest.approx((1 / 2 + 0) / 2)
    assert [mark.figures["margin"] for mark in chosen.marks()] == [-1.0, pytest.approx(1.4), -0.5]
    pairs = np.array([[2.0, 1.0], [0.0, 1.0], [0.0, 1.0]])  # one of three in order
    assert preference(pairs, np.ones((3, 2), np.int64))["accuracy_error"] == figures["accuracy_error"]
    assert "accuracy_error" not in preference(pairs[:1], np.ones((1, 2), np.int64))
    assert "multiple" not in figures


def test_a_reward_model_takes_no_exam(workspace: Workspace, tmp_path: Path, tiny_model: Path) -> None:
    import_file(workspace, write_jsonl(tmp_path / "exam.jsonl", questions(3)))
    scoring = classifier(tiny_model, tmp_path / "scores")
    _, found = evaluate(workspace, f"models.runs=[{scoring}, {tiny_model}]", "data.rows=[exam]")
    assert refusal_of(found.cells[0]) == "evaluate.only_scores"
    assert found.cells[1].figures["accuracy"] >= 0


# -- bad input --------------------------------------------------------------------------------------------------------
def problems_of(workspace: Workspace, model: Path, *words: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        pin(workspace, STAGES["evaluate"], resolve("evaluate", overrides=[f"models.runs=[{model}]", *words]))
    return {str(problem.key): problem.code for problem in caught.value.problems}


def test_examples_that_cannot_be_had_are_told_before_the_start(
    workspace: Workspace, tmp_path: Path, tiny_model: Path, chat_file: Path
) -> None:
    import_file(workspace, write_jsonl(tmp_path / "exam.jsonl", questions(4)))
    dev = write_jsonl(tmp_path / "dev.jsonl", questions(2))
    words = ["data.rows=[exam]"]
    assert problems_of(workspace, tiny_model, *words, "data.shots=3") == {"data.dev": "evaluate.no_dev"}
    assert problems_of(workspace, tiny_model, *words, f"data.dev={dev}") == {"data.shots": "evaluate.no_shots"}
    few = problems_of(workspace, tiny_model, *words, f"data.dev={dev}", "data.shots=3")
    assert few == {"data.shots": "evaluate.few_examples"}
    chat = problems_of(workspace, tiny_model, *words, f"data.dev={chat_file}", "data.shots=3")
    assert chat == {"data.dev": "data.wrong_kind"}
    command = ["--workspace", str(workspace.path), "evaluate", f"models.runs=[{tiny_model}]", *words]
    assert main([*command, f"data.dev={dev}", "data.shots=3"]) == 2
    assert workspace.runs() == []


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("0,ba,be,bi,bo,bu,E,", "data.choice_answer"),  # outside the choices
        ("0,ba,be,bi,,bu,A,", "data.choice_answer"),  # C is missing between B and D
        ("0,ba,be,,,,A,", "data.choices"),  # one choice is none
        ("0,ba,be,bi,bo,bu,,", "data.choice_answer"),  # no answer
    ],
)
def test_questions_with_missing_choices_or_a_wrong_answer_are_listed(
    workspace: Workspace,
    tmp_path: Path,
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
    row: str,
    code: str,
) -> None:
    """Every way in says so with the line: the check, and a run that is given the file."""
    head = "id,question,A,B,C,D,answer,explanation"
    path = table(tmp_path / "law_val.csv", head, "1,da,de,di,do,du,B,", row)
    assert main(["data", "check", str(path), "--json"]) == 2
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    [problem] = told["problems"]
    assert (problem["code"], problem["line"]) == (code, 3)
    command = ["--workspace", str(workspace.path), "evaluate", f"models.runs=[{tiny_model}]", f"data.rows=[{path}]"]
    assert main(command) == 2
    assert workspace.runs() == []
    assert import_file(workspace, path, "exam", bad_rows="drop").dropped()[0]["line"] == 3
    cell, items = exam(workspace, tiny_model)
    assert (cell.rows, items[0].right) == (1, "B")
