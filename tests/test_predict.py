"""A file of prompts answered: one output line for each of its lines, in order, whatever stands in them."""

from __future__ import annotations

import gzip
import json
import shutil
import weakref
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from core.configs.predict import Sampled
from core.data.dialogue import RowError
from core.data.encode.encoding import Encoder
from core.data.encode.tokenizer import load_tokenizer
from core.data.store.library import import_file
from core.errors import ConfigError, DataError, InputError, ModelError
from core.evaluation.decoding import Drawing, decode
from core.evaluation.predicting import Ready, Way, answer_batch
from core.evaluation.predictor import Speaker
from core.evaluation.prompt_files import Asked, asked_by
from core.models.cache import RoomyLayer, with_room
from core.records_predict import windows_folder
from core.rundir import RunDir
from core.workspace import Workspace
from tests import chatglm_tools
from tests.conftest import build_tokenizer, conversations, write_jsonl
from tests.families_tools import KINDS, build_model
from tests.models_tools import make_adapter, make_run, make_whole_run
from tests.predict_tools import answer, begin, codes, config_of, lines, summary

USER = {"role": "user", "content": "发烧 ba?"}
DRAWN = ("generation.temperature=1", "generation.top_p=0.9")


def plain(path: Path, texts: list[str]) -> Path:
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def questions(count: int) -> list[str]:
    return [row["conversations"][0]["value"] for row in conversations(count)]


# -- what is asked ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "row",
    [
        "发烧 ba?",
        {"prompt": "发烧 ba?"},
        {"question": "发烧 ba?", "answer": "bo"},
        {"question": "发烧 ba?"},
        {"query": "发烧 ba?"},
        {"text": "发烧 ba?"},
        {"instruction": "发烧 ba?", "input": "", "output": ""},
        {"instruction": "发烧 ba?"},
        {"messages": [USER]},
        {"messages": [USER, {"role": "assistant", "content": "bo"}]},
        {"conversations": [{"from": "human", "value": "发烧 ba?"}]},
        {"conversations": [{"from": "human", "value": "发烧 ba?"}, {"from": "gpt", "value": "bo"}]},
        {"prompt": "发烧 ba?", "chosen": "bo", "rejected": "bi"},
        {"prompt": [USER]},
        {"questions": ["发烧 ba?"], "answers": ["bo"]},
    ],
)
def test_every_shape_of_row_asks_its_question(row: object) -> None:
    assert asked_by(row) == [USER]


def test_rows_that_ask_in_their_own_way() -> None:
    system = {"role": "system", "content": "s"}
    assert asked_by({"instruction": "a", "input": "b"}) == [{"role": "user", "content": "a\nb"}]
    assert asked_by({"system": "s", "prompt": "发烧 ba?"}) == [system, USER]
    assert asked_by({"prompt": "发烧 ba?", "history": [["a", "b"]]})[:2] == [
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
    ]  # fmt: skip
    chosen = {"question": "q?", "A": "x", "B": "y", "answer": "B"}
    assert asked_by(chosen) == [{"role": "user", "content": "q?\nA. x\nB. y"}]


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (7, "predict.asks_nothing"),
        ({"foo": 1}, "predict.asks_nothing"),
        ({"messages": []}, "data.empty_value"),
        ({"messages": [{"role": "assistant", "content": "bo"}]}, "data.no_question"),
        ({"messages": [{"role": "user", "content": 5}]}, "data.turn_not_text"),
        ({"prompt": "  "}, "data.empty_value"),
        ({"questions": ["a", "b"], "answers": ["x", "y"]}, "predict.asks_more"),
    ],
)
def test_rows_that_ask_nothing_say_why(row: object, code: str) -> None:
    with pytest.raises(RowError) as caught:
        asked_by(row)
    assert caught.value.code == code


# -- one line out for one line in -------------------------------------------------------------------------------------
def test_every_line_has_its_line_whatever_stands_in_it(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    rows = [json.dumps({"prompt": text}, ensure_ascii=False) for text in questions(20)]
    rows[3] = '{"prompt": "cut'
    rows[5] = ""
    rows[8] = json.dumps({"foo": 1})
    rows[11] = json.dumps({"prompt": "ba " * 600})
    rows[13] = "   "
    file = tmp_path / "asked.jsonl"
    file.write_bytes("\n".join(rows).encode() + b"\n\xff\xfe\n\n")
    run = answer(workspace, tiny_model, file, *DRAWN, "data.window=7")
    found = lines(run)
    assert [row["line"] for row in found] == list(range(1, 23))
    assert codes(run) == {
        4: "data.json_broken", 6: "predict.blank_line", 9: "predict.asks_nothing", 12: "predict.no_room",
        14: "predict.blank_line", 21: "data.not_utf8", 22: "predict.blank_line",
    }  # fmt: skip
    for row in found:
        if "error" in row:
            assert row["output"] is None
            assert "{" not in row["error"]["sentence"].replace('{"', "")
        else:
            assert set(row) == {"line", "input", "output", "tokens", "finish"}
            assert row["input"] == questions(20)[row["line"] - 1]
            assert 1 <= row["tokens"] <= 6
    said = summary(run)
    assert (said.lines, said.answered, sum(said.failed.values())) == (22, 15, 7)
    assert said.tokens == sum(row.get("tokens", 0) for row in found)
    assert not (run.path / "predictions").exists()
    progress = run.progress()
    assert progress is not None
    assert (progress.phase, progress.step, progress.total) == ("delivering", 22, 22)


def test_what_is_asked_in_lines_is_answered_as_in_rows(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    asked = questions(12)
    rows = [json.dumps({"question": text}, ensure_ascii=False) for text in asked]
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress("\n".join(rows).encode()))
    (tmp_path / "b.csv").write_text("question\n" + "\n".join(f'"{text}"' for text in asked), encoding="utf-8")
    dataset = import_file(workspace, write_jsonl(tmp_path / "d.jsonl", [{"prompt": text} for text in asked]), "asked")
    files: list[Path | str] = [
        plain(tmp_path / "lines", asked), plain(tmp_path / "c.txt", asked), tmp_path / "a.jsonl.gz",
        tmp_path / "b.csv", dataset.ref,
    ]  # fmt: skip
    said = [[row["output"] for row in lines(answer(workspace, tiny_model, file, *DRAWN))] for file in files]
    assert len(set(said[0])) > 6
    assert said[1:] == [said[0]] * (len(files) - 1)
    csv_lines = [row["line"] for row in lines(answer(workspace, tiny_model, tmp_path / "b.csv"))]
    assert csv_lines == list(range(2, 14))  # the line of the file: its first holds the names


def test_windows_and_batches_change_no_text(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    file = plain(tmp_path / "q.txt", questions(40))
    ways = [(), ("data.window=1",), ("data.window=7", "data.tokens=64"), ("data.tokens=100000",)]
    said = [lines(answer(workspace, tiny_model, file, *DRAWN, *way)) for way in ways]
    assert said[1:] == [said[0]] * 3
    few = lines(answer(workspace, tiny_model, file, *DRAWN, "data.max_rows=5"))
    assert few == said[0][:5]
    other = lines(answer(workspace, tiny_model, file, *DRAWN, "run.seed=1"))
    assert [row["output"] for row in other] != [row["output"] for row in said[0]]


def test_the_answers_are_those_of_generate(tiny_model: Path) -> None:
    """Greedy, with a penalty, over rows that end at different places; by Transformers' own loop and one by one."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    tokenizer = load_tokenizer(tiny_model)
    encoder = Encoder(tokenizer)
    prompts = [encoder.prompt_ids([{"role": "user", "content": text}]) for text in questions(9)]
    stops = [*encoder.stop_ids, *range(40, 140)]  # so many that rows end early
    for penalty in (1.0, 1.3):
        ended: list[int] = []
        said = decode(
            model, prompts, [30 + at for at in range(9)], range(9), Drawing(repetition_penalty=penalty),
            stop_ids=stops, seed=1, on_step=ended.append,
        )  # fmt: skip
        config = GenerationConfig(do_sample=False, repetition_penalty=penalty, eos_token_id=stops, pad_token_id=0)
        for at, prompt in enumerate(prompts):
            config.max_new_tokens = 30 + at
            alone = model.generate(input_ids=torch.tensor([prompt]), generation_config=config)
            assert said[at] == alone[0, len(prompt) :].tolist()
        assert len({len(ids) for ids in said}) > 1
        assert ended == sorted(ended)
        assert len(ended) == max(map(len, said))


@pytest.mark.parametrize("kind", [*KINDS, "context"])
def test_every_family_answers_in_a_batch_as_alone(tmp_path: Path, kind: str) -> None:
    """`context`: ChatGLM-6B whose prompts end their context with its own token, and are read in both directions."""
    if kind == "context":
        model = chatglm_tools.tiny_model().eval()
        lead = [model.config.gmask_token_id, model.config.bos_token_id]
    else:
        model = AutoModelForCausalLM.from_pretrained(build_model(kind, tmp_path), dtype=torch.float32).eval()
        lead = []
    rng = torch.Generator().manual_seed(2)
    prompts = [[*torch.randint(10, 60, (length,), generator=rng).tolist(), *lead] for length in (3, 9, 30)]
    stops = list(range(20, 60))
    means = {"stop_ids": stops, "seed": 1, "on_step": lambda ended: None}
    together = decode(model, prompts, [20, 12, 25], range(3), Drawing(), **means)
    for at, prompt in enumerate(prompts):
        assert decode(model, [prompt], [[20, 12, 25][at]], [at], Drawing(), **means) == [together[at]]
        config = GenerationConfig(do_sample=False, max_new_tokens=[20, 12, 25][at], eos_token_id=stops, pad_token_id=0)
        alone = model.generate(input_ids=torch.tensor([prompt]), generation_config=config)
        assert together[at] == alone[0, len(prompt) :].tolist()


def test_a_batch_that_is_too_large_is_let_go_before_its_halves_are_answered(tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    tokenizer = load_tokenizer(tiny_model)
    encoder = Encoder(tokenizer)
    speaker = Speaker(model, tokenizer, encoder, tuple(encoder.stop_ids), 512, "")
    way = Way(speaker, Sampled(max_new_tokens=6, temperature=1.0), "", 1, 4096, lambda ended: None)
    asked = [[{"role": "user", "content": text}] for text in questions(4)]
    batch = [Ready(at, Asked(at, text, turns), encoder.prompt_ids(turns))
             for at, (text, turns) in enumerate(zip(questions(4), asked, strict=True))]  # fmt: skip
    whole = answer_batch(way, batch, 0)
    caches: list[weakref.ref] = []
    sizes: list[int] = []

    def short_of_memory(module: torch.nn.Module, args: tuple, options: dict) -> None:
        rows, cache = len(options["input_ids"]), options["past_key_values"]
        if cache is None:
            sizes.append(rows)
            assert all(kept() is None for kept in caches)  # what ran out of memory holds none any more
        elif rows > 2:
            caches.append(weakref.ref(cache))
            raise torch.OutOfMemoryError("too much")

    model.register_forward_pre_hook(short_of_memory, with_kwargs=True)
    assert answer_batch(way, batch, 0) == whole
    assert (sizes, len(caches)) == ([4, 2, 2], 1)


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0]).log_softmax(-1).expand(4000, 4)
    uniform = torch.rand(4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    seen = torch.zeros(4000, 4, dtype=torch.bool)
    counts = Drawing(temperature=1.0).choose(logits, None, uniform).bincount(minlength=4) / 4000
    assert torch.allclose(counts, logits[0].exp(), atol=0.03)
    assert set(Drawing(temperature=1.0, top_k=2).choose(logits, None, uniform).tolist()) == {0, 1}
    assert set(Drawing(temperature=1.0, top_p=0.5).choose(logits, None, uniform).tolist()) == {0}
    seen[:, 0] = True
    assert set(Drawing(repetition_penalty=9.0).choose(logits, seen, uniform).tolist()) == {1}
    assert set(Drawing().choose(logits, None, uniform).tolist()) == {0}


def test_a_roomy_cache_holds_what_the_usual_one_holds(tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    ids = torch.randint(5, 200, (3, 90), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        usual = model(input_ids=ids[:, :10], use_cache=True).past_key_values
        other = with_room(model(input_ids=ids[:, :10], use_cache=True).past_key_values)
        assert all(isinstance(layer, RoomyLayer) for layer in other.layers)
        for at in range(10, 90):
            if at == 50:
                usual.batch_select_indices(torch.tensor([0, 2]))
                other.batch_select_indices(torch.tensor([0, 2]))
                ids = ids[[0, 2]]
            first = model(input_ids=ids[:, at : at + 1], past_key_values=usual, use_cache=True).logits
            second = model(input_ids=ids[:, at : at + 1], past_key_values=other, use_cache=True).logits
            assert torch.equal(first, second)
    assert other.get_seq_length() == usual.get_seq_length() == 90


# -- how it is asked --------------------------------------------------------------------------------------------------
def test_system_message_and_named_template(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    file = plain(tmp_path / "q.txt", questions(6))
    ways = [(), ("data.system=ba be",), ("model.template=alpaca",), ("data.with_prompt=false",)]
    runs = [answer(workspace, tiny_model, file, *DRAWN, *way) for way in ways]
    said = [[row["output"] for row in lines(run)] for run in runs]
    assert len({tuple(each) for each in said}) == 4
    assert [summary(run).template for run in runs] == ["tokenizer", "tokenizer", "alpaca", ""]
    assert all(row["input"] == text for row, text in zip(lines(runs[1]), questions(6), strict=True))


def test_without_the_template_a_line_is_gone_on_with(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    talk = {"messages": [USER, {"role": "assistant", "content": "bo"}, USER]}
    file = write_jsonl(tmp_path / "q.jsonl", [{"text": "ba be<|im_end|>"}, talk])
    run = answer(workspace, tiny_model, file, "data.with_prompt=false", "generation.max_new_tokens=12")
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    tokenizer = load_tokenizer(tiny_model)
    ids = torch.tensor([tokenizer("ba be<|im_end|>")["input_ids"]])
    out = model.generate(ids, do_sample=False, max_new_tokens=12, pad_token_id=0)[0, ids.shape[1] :]
    first, second = lines(run)
    assert first["output"] == tokenizer.decode(out, skip_special_tokens=True)
    assert second["error"]["code"] == "predict.raw_turns"
    assert second["input"] == talk["messages"]


def test_a_base_without_a_template_asks_for_one(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    bare = Path(shutil.copytree(tiny_model, tmp_path / "bare"))
    for name in ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json"):
        (bare / name).unlink(missing_ok=True)
    build_tokenizer(bare, template=None)
    file = plain(tmp_path / "q.txt", questions(3))
    with pytest.raises(ConfigError) as caught:
        answer(workspace, bare, file)
    [problem] = caught.value.problems
    assert (problem.key, problem.code) == ("model.template", "predict.no_template")
    assert "model.template=medicalgpt" in problem.remedy
    assert "with_prompt=false" in problem.remedy
    assert len(lines(answer(workspace, bare, file, "model.template=medicalgpt"))) == 3
    assert len(lines(answer(workspace, bare, file, "data.with_prompt=false"))) == 3


# -- who answers ------------------------------------------------------------------------------------------------------
def test_a_run_its_base_with_it_and_its_folder_say_the_same(
    workspace: Workspace, tiny_model: Path, tmp_path: Path
) -> None:
    run = make_run(workspace, tiny_model, name="tuned", seed=3)
    file = plain(tmp_path / "q.txt", questions(8))
    adapter = run.output / "adapter"
    said = [
        lines(answer(workspace, base, file, *DRAWN, *words))
        for base, words in (
            ("tuned", ()), ("", ("model.lora=tuned",)), (tiny_model, ("model.lora=tuned",)),
            (tiny_model, (f"model.lora={adapter}",)), ("", (f"model.lora={adapter}",)),
        )
    ]  # fmt: skip
    assert said[1:] == [said[0]] * 4
    base = answer(workspace, tiny_model, file, *DRAWN)
    assert lines(base) != said[0]
    assert summary(base).adapters == []


def test_an_adapter_of_another_base_is_refused(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(tiny_model, tmp_path / "other"))
    model = AutoModelForCausalLM.from_pretrained(other)
    with torch.no_grad():
        next(model.parameters()).add_(0.01)
    model.save_pretrained(other)
    run = make_run(workspace, tiny_model, name="tuned")
    file = plain(tmp_path / "q.txt", questions(3))
    for lora in ("tuned", str(run.output / "adapter")):
        with pytest.raises(ConfigError) as caught:
            answer(workspace, other, file, f"model.lora={lora}")
        assert [problem.code for problem in caught.value.problems] == ["predict.other_base"]
    foreign = make_adapter(tiny_model, tmp_path / "foreign")
    config = json.loads((foreign / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "/gone/tiny-llama"  # the same name, on the machine where it was trained
    (foreign / "adapter_config.json").write_text(json.dumps(config))
    assert len(lines(answer(workspace, tiny_model, file, f"model.lora={foreign}"))) == 3
    config["base_model_name_or_path"] = "someone/else-7b"
    (foreign / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError) as caught:
        answer(workspace, tiny_model, file, f"model.lora={foreign}")
    assert "someone/else-7b" in caught.value.problems[0].message


def test_what_cannot_answer_is_refused(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    file = plain(tmp_path / "q.txt", questions(2))
    make_whole_run(workspace, tiny_model, name="whole")
    refused = {
        "model.lora=nobody": ("model.lora", "predict.no_adapter"),
        f"model.lora={tiny_model}": ("model.lora", "predict.whole_model"),
        "model.lora=whole": ("model.lora", "predict.whole_model"),
        f"model.lora={tmp_path}": ("model.lora", "model.no_adapter"),
        f"model.tokenizer={tmp_path}": ("model.tokenizer", "predict.no_tokenizer"),
        "model.model_type=bloom": ("model.model_type", "model.type_differs"),
        "model.template=nobodys": ("model.template", "model.unknown_template"),
    }
    for word, expected in refused.items():
        with pytest.raises(ConfigError) as caught:
            answer(workspace, tiny_model, file, word)
        assert [(problem.key, problem.code) for problem in caught.value.problems] == [expected], word
    assert len(lines(answer(workspace, "whole", file))) == 2
    for words, code in (
        (["model.base="], "predict.no_model"),
        (["data.with_prompt=false", "data.system=s"], "predict.raw_system"),
        (["data.with_prompt=false", "model.template=alpaca"], "predict.raw_template"),
    ):
        with pytest.raises(ConfigError) as caught:
            config_of(workspace, tiny_model, file, *words)
        assert [problem.code for problem in caught.value.problems] == [code]


def test_another_tokenizer(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    file = plain(tmp_path / "q.txt", questions(2))
    own = build_tokenizer(tmp_path / "own")
    assert lines(answer(workspace, tiny_model, file, f"model.tokenizer={tmp_path / 'own'}")) == lines(
        answer(workspace, tiny_model, file)
    )
    own.add_tokens([f"word{number}" for number in range(50)])
    own.save_pretrained(tmp_path / "large")
    with pytest.raises(ModelError) as caught:
        answer(workspace, tiny_model, file, f"model.tokenizer={tmp_path / 'large'}")
    assert caught.value.code == "predict.large_tokenizer"


# -- where the answers go ---------------------------------------------------------------------------------------------
def test_a_copy_where_the_user_says(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    file = plain(tmp_path / "q.txt", questions(5))
    copy = tmp_path / "out" / "predictions.json"
    with pytest.raises(ConfigError) as caught:
        answer(workspace, tiny_model, file, f"data.predictions={copy}")
    assert caught.value.problems[0].code == "predict.no_folder"
    copy.parent.mkdir()
    for _ in range(2):  # the second time over what the first has written
        run = answer(workspace, tiny_model, file, f"data.predictions={copy}")
        assert copy.read_bytes() == (run.output / "predictions.jsonl").read_bytes()
    thesis = plain(tmp_path / "thesis.txt", ["years of work"])
    for target, code in (
        (thesis, "predict.would_overwrite"), (file, "predict.same_file"), (tmp_path, "predict.is_folder"),
    ):  # fmt: skip
        with pytest.raises(ConfigError) as caught:
            answer(workspace, tiny_model, file, f"data.predictions={target}")
        assert [problem.code for problem in caught.value.problems] == [code]
    assert thesis.read_text() == "years of work\n"
    assert sorted(path.name for path in copy.parent.iterdir()) == ["predictions.json"]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("q.txt", "", "data.empty_file"),
        ("q.txt", "\n \n\n", "data.empty_file"),
        ("q.json", "[]", "data.empty_file"),
        ("q.csv", "question\n", "data.empty_file"),
        ("gone.txt", None, "data.no_file"),
        ("q.png", "\x89PNG\x00\x00\x00\x00", "data.unknown_container"),
    ],
)
def test_an_empty_file_is_refused_before_the_start(
    workspace: Workspace, tiny_model: Path, tmp_path: Path, name: str, content: str | None, code: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content, encoding="latin-1")
    with pytest.raises(ConfigError) as caught:
        answer(workspace, tiny_model, tmp_path / name)
    assert [(problem.key, problem.code) for problem in caught.value.problems] == [("data.file", code)]


def test_where_nothing_can_be_answered_the_run_fails_with_the_reasons(
    workspace: Workspace, tiny_model: Path, tmp_path: Path
) -> None:
    file = write_jsonl(tmp_path / "q.jsonl", [{"foo": 1}, {"foo": 2}])
    run = RunDir.create(workspace.runs_dir, "predict")
    with pytest.raises(DataError) as caught:
        answer(workspace, tiny_model, file, run=run)
    assert caught.value.code == "predict.nothing"
    assert "foo" in caught.value.params["detail"]
    assert codes(run) == {1: "predict.asks_nothing", 2: "predict.asks_nothing"}


# -- going on ---------------------------------------------------------------------------------------------------------
def test_it_goes_on_after_the_last_whole_batch(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    file = plain(tmp_path / "q.txt", questions(30))
    words = (*DRAWN, "data.window=8", "data.tokens=100")
    whole = lines(answer(workspace, tiny_model, file, *words))
    for batches in (1, 3, 4, 9):
        run = begin(workspace, tiny_model, file, *words, batches=batches)
        left = sorted(windows_folder(run.path).glob("window-*.jsonl"))
        with open(left[-1], "ab") as torn:
            torn.write(b'{"rows":[[0,{"line":')
        before = [path.read_bytes() for path in left]
        answer(workspace, tiny_model, file, *words, run=run)
        assert lines(run) == whole
        assert sum(each.count(b"\n") for each in before) == batches


def test_going_on_with_something_else_is_refused(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    file = plain(tmp_path / "q.txt", questions(10))
    run = begin(workspace, tiny_model, file, "data.window=4", batches=1)
    with pytest.raises(InputError) as caught:
        answer(workspace, tiny_model, file, "data.window=4", "generation.temperature=1", run=run)
    assert caught.value.code == "predict.changed"
    assert (caught.value.params["count"], caught.value.params["keys"]) == (4, "generation.temperature")
    plain(file, questions(11))
    with pytest.raises(DataError) as changed:
        answer(workspace, tiny_model, file, "data.window=4", run=run)
    assert changed.value.code == "predict.file_changed"
    plain(file, questions(10))
    answer(workspace, tiny_model, file, "data.window=4", "run.name=other", run=run)
    assert lines(run) == lines(answer(workspace, tiny_model, file))
