"""The fit estimate: sizes that are arithmetic, verdicts, the ladder both ways, and that it is quick and torch-free."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from core.configs.files import fields_of, resolve
from core.configs.stages import STAGES, SFTConfig
from core.data.store.library import import_file
from core.errors import DataError, InputError, ModelError
from core.fit import memory
from core.fit.duration import measured_speed
from core.fit.estimate import Fit, estimate
from core.fit.ladder import after_memory_failure, changed
from core.fit.memory import Demand, Pack
from core.fit.relief import relief
from core.fit.rows import lengths_of
from core.messages import MESSAGES
from core.models.anatomy import Anatomy, anatomy, of_shapes
from core.models.flops import gpu_peak, training_costs
from core.records import Status
from core.rundir import RunDir, append_jsonl, write_json, write_record
from core.workspace import Workspace
from tests.conftest import conversations, write_jsonl
from tests.fit_tools import SIZES, cpu, gpu, hollow_model


@pytest.fixture
def rows(workspace: Workspace, tmp_path: Path) -> str:
    """100 conversations, some longer than 128 tokens."""
    made = [*conversations(80), *conversations(20, turns=12)]
    return import_file(workspace, write_jsonl(tmp_path / "chat.jsonl", made)).ref


def fit_of(workspace: Workspace, model: Path, data: str, devices: list, stage: str = "sft", **values: object) -> Fit:
    given = {key.replace("__", "."): value for key, value in values.items()}
    config = resolve(stage, values={"model.base": str(model), "data.train": data, **given})
    return estimate(config, workspace, devices)


def codes(fit: Fit) -> list[str]:
    return [rung.code.removeprefix("fit.rung_") for rung in fit.rungs]


# -- the model --------------------------------------------------------------------------------------------------------
def test_the_anatomy_of_a_folder_is_that_of_its_weights(tiny_model: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    body = anatomy(tiny_model)
    linear = [part for part in model.model.modules() if isinstance(part, torch.nn.Linear)]
    assert body.parameters == sum(p.numel() for p in model.parameters())
    assert body.body == body.per_token == sum(part.weight.numel() for part in linear)
    assert (body.layers, body.heads, body.kv_heads, body.head_width) == (2, 4, 2, 16)
    assert (body.head, body.embedding) == (0, model.get_input_embeddings().weight.numel())
    assert body.head_size == body.embedding
    rank8 = sum(8 * (part.in_features + part.out_features) for part in linear)
    assert body.adapter_size(8, ["all-linear"]) == rank8
    assert {matrix.leaf for matrix in body.targets(["q_proj", "v_proj"])} == {"q_proj", "v_proj"}


def test_experts_lie_in_memory_and_few_of_them_work() -> None:
    config = {"model_type": "mixtral", "num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2,
              "intermediate_size": 16, "vocab_size": 10, "num_local_experts": 4, "num_experts_per_tok": 2}  # fmt: skip
    apart = [(f"model.layers.0.mlp.experts.{n}.w1.weight", (16, 8)) for n in range(4)]
    together = [("model.layers.0.mlp.experts.gate_up_proj", (4, 16, 8))]
    for experts in (apart, together):
        body = of_shapes(config, [("model.layers.0.self_attn.q_proj.weight", (8, 8)), *experts])
        assert body.parameters == body.body == 64 + 4 * 128
        assert body.per_token == 64 + 2 * 128
        assert body.adapter_size(1, ["all-linear"]) == 16


def test_flops_by_the_book() -> None:
    body = of_shapes(*SIZES["7b"][:1], SIZES["7b"][1].items())
    assert body.parameters == pytest.approx(6.74e9, rel=0.01)
    full, lora, look = (training_costs(body, method) for method in ("full", "lora", "none"))
    assert full.token + full.label == pytest.approx(6 * (body.parameters - body.embedding), rel=1e-3)
    assert (lora.token, look.token) == (4 * body.per_token, 2 * body.per_token)
    assert full.square == 3 * look.square == 3 * 2 * 32 * 4096
    assert training_costs(body, "freeze", trainable_layers=32).token == pytest.approx(full.token)
    assert training_costs(body, "freeze", trainable_layers=0).token == look.token


@pytest.mark.parametrize(
    ("name", "peak"),
    [("NVIDIA H200", 989e12), ("NVIDIA H100 PCIe", 756e12), ("NVIDIA A100-SXM4-80GB", 312e12), ("NVIDIA L4", 121e12),
     ("NVIDIA GeForce RTX 4090", 165e12), ("Tesla V100-SXM2-32GB", 125e12), ("Radeon", None)],
)  # fmt: skip
def test_peaks_of_gpus(name: str, peak: float | None) -> None:
    assert gpu_peak(name, "bf16") == peak


# -- memory -----------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def seven() -> Anatomy:
    config, shapes = SIZES["7b"]
    return of_shapes(config, shapes.items(), "bf16")


def demand(**values: object) -> Demand:
    return Demand(**{"method": "lora", "dtype": "bf16", "device": "cuda", "pack": Pack((512,) * 4), **values})  # type: ignore[arg-type]  # by name


def test_what_stays_is_arithmetic(seven: Anatomy) -> None:
    full = memory.training_parts(seven, demand(method="full"))
    count = seven.parameters
    assert (full["weights"], full["gradients"], full["optimizer"]) == (4 * count, 4 * count, 8 * count)
    lora = memory.training_parts(seven, demand(rank=8))
    small = seven.adapter_size(8, ["all-linear"])
    assert (lora["weights"], lora["adapters"], lora["optimizer"]) == (2 * count, 4 * small, 8 * small)
    four = memory.training_parts(seven, demand(quantisation="nf4"))
    assert four["weights"] == pytest.approx(0.516 * seven.body + 2 * (count - seven.body), rel=0.01)
    assert memory.training_parts(seven, demand(method="full", ranks=8))["gradients"] == 8 * count


def test_what_the_estimate_repeats_is_what_the_training_does() -> None:
    from core.training import attention, fastpath, losses

    assert (memory.SHORT, memory.CHUNK) == (attention.SHORT, losses.CHUNK)
    assert memory.REPACK_SHARE == fastpath.REPACK_SHARE


def test_label_smoothing_keeps_the_fast_path(workspace: Workspace, tiny_model: Path, rows: str) -> None:
    plain = fit_of(workspace, tiny_model, rows, [cpu(16)])
    smooth = fit_of(workspace, tiny_model, rows, [cpu(16)], optim__label_smoothing=0.1)
    assert smooth.parts["activations"] == plain.parts["activations"]
    assert plain.parts["logits"] < smooth.parts["logits"] < 100 * plain.parts["logits"]


def test_each_rung_takes_less(seven: Anatomy) -> None:
    def total(**values: object) -> int:
        return sum(memory.training_parts(seven, demand(**values)).values())

    assert total(pack=Pack((512,))) < total()
    assert total(checkpointing=True) < 0.6 * total()
    assert total(quantisation="nf4", checkpointing=True) < total(quantisation="int8", checkpointing=True)
    assert total(quantisation="int8", checkpointing=True) < total(checkpointing=True)
    assert total(method="full", optimizer="adamw_8bit") < total(method="full")
    assert total() < total(fast=False)
    assert total(dropout=True) > total()


def test_the_largest_pack_is_what_counts(workspace: Workspace, tiny_model: Path, rows: str) -> None:
    short = fit_of(workspace, tiny_model, rows, [cpu(16)], data__max_length=32)
    long = fit_of(workspace, tiny_model, rows, [cpu(16)], data__max_length=400)
    many = fit_of(workspace, tiny_model, rows, [cpu(16)], data__max_length=400, schedule__batch_size=64)
    assert short.parts["activations"] < long.parts["activations"] < many.parts["activations"]
    assert many.rows_per_step == 256


# -- rows and steps ---------------------------------------------------------------------------------------------------
def test_tokens_are_estimated_from_a_sample(workspace: Workspace, tiny_model: Path, rows: str) -> None:
    from core.data.encode.encoding import Encoder, encode_dataset
    from core.data.encode.tokenizer import load_tokenizer
    from core.data.store.library import open_dataset

    encoded = encode_dataset(
        open_dataset(workspace, rows), Encoder(load_tokenizer(tiny_model), max_length=4096), workspace.encoded_dir
    )
    found = lengths_of(workspace, rows, tiny_model)
    assert (found.rows, found.kind, found.sampled) == (100, "messages", False)
    assert found.mean == pytest.approx(encoded.lengths.mean(), rel=0.15)
    assert list((workspace.cache_dir / "fit").iterdir())


def test_a_file_is_looked_at_and_not_imported(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "new.jsonl", conversations(300))
    fit = fit_of(workspace, tiny_model, str(file), [cpu(16)])
    assert fit.steps == pytest.approx(3 * 300 / 8, abs=3)
    assert [note.code for note in fit.notes] == ["fit.sampled_file"]
    assert not list(workspace.datasets_dir.iterdir())
    binary = tmp_path / "rows.parquet"
    binary.write_bytes(b"PAR1\0\0\0")
    unknown = fit_of(workspace, tiny_model, str(binary), [cpu(16)])
    assert (unknown.steps, unknown.seconds) == (None, None)
    assert [note.code for note in unknown.notes] == ["fit.rows_unknown"]


def test_steps_are_those_of_the_trainer(workspace: Workspace, tiny_model: Path, rows: str) -> None:
    fit = fit_of(workspace, tiny_model, rows, [cpu(16)], data__validation_split=0.2, schedule__epochs=2)
    assert (fit.rows_per_step, fit.steps) == (8, 20)
    assert fit.seconds is not None
    assert fit.seconds > 0
    two = fit_of(workspace, tiny_model, rows, [cpu(16), cpu(16, 1)], schedule__max_steps=7)
    assert (two.rows_per_step, two.steps) == (16, 7)
    mixed = fit_of(workspace, tiny_model, rows, [cpu(16)], data__mix=[f"{rows}: 0.5"], schedule__epochs=2)
    assert mixed.steps == 38


def test_a_rehearsal_says_nothing_of_the_speed(workspace: Workspace) -> None:
    def trained(name: str, tflops: float) -> None:
        run = RunDir.create(workspace.runs_dir, "sft")
        write_json(run.config_json, {"run": {"rehearsal": name}})
        write_record(run.status_file, Status(
            supervisor_pid=1, supervisor_started=1.0, submitted_at=1.0, host=socket.gethostname(), devices=["cpu:0"],
        ))  # fmt: skip
        append_jsonl(run.metrics_file, {"step": 1, "tflops": tflops})

    trained("", 0.25)
    trained("rehearse-1", 0.01)
    assert measured_speed(workspace, "cpu") == 0.25e12


def test_pretraining_counts_blocks(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    text = " ".join(["ba be bi bo bu"] * 200)
    data = import_file(workspace, write_jsonl(tmp_path / "text.jsonl", [{"text": text}] * 40)).ref
    tokens = lengths_of(workspace, data, tiny_model).mean * 40
    fit = fit_of(
        workspace, tiny_model, data, [cpu(16)], "pretrain", data__block_size=128, data__validation_split=0,
        data__packing="joined",
    )  # fmt: skip
    assert fit.tokens_per_step == 8 * 128
    assert fit.steps == pytest.approx(tokens / 128 / 8, rel=0.05)
    budget = fit_of(workspace, tiny_model, data, [cpu(16)], "pretrain", data__block_size=128, schedule__max_tokens=4096)
    assert budget.steps == pytest.approx(4, abs=1)


# -- verdicts and the ladder ------------------------------------------------------------------------------------------
def test_the_ladder_goes_down_until_it_fits(workspace: Workspace, tmp_path: Path, tiny_model: Path, rows: str) -> None:
    model = hollow_model(tmp_path / "7b", "7b", tiny_model)
    values = {"schedule__batch_size": 16, "data__max_length": 2048, "model__dtype": "bf16"}
    fits = {size: fit_of(workspace, model, rows, [gpu(0, size)], **values) for size in (8, 12, 24, 80)}
    assert [fit.verdict for fit in fits.values()] == ["no", "no", "no", "fits"]
    assert codes(fits[8]) == ["batch", "length", "checkpointing", "8bit", "4bit"]
    assert codes(fits[24])[0] == "batch"
    for fit in fits.values():
        totals = [rung.total for rung in fit.rungs]
        if fit.verdict != "fits":
            assert totals == sorted(totals, reverse=True)
            assert all(rung.verdict != "fits" for rung in fit.rungs[:-1])
            assert fit.rungs[-1].verdict == "fits"
            assert all(set(a.changes) < set(b.changes) or "int8" in a.changes.values()
                       for a, b in zip(fit.rungs, fit.rungs[1:], strict=False))  # fmt: skip


def test_batch_one_keeps_the_effective_batch(workspace: Workspace, tmp_path: Path, tiny_model: Path, rows: str) -> None:
    model = hollow_model(tmp_path / "7b", "7b", tiny_model)
    fit = fit_of(workspace, model, rows, [gpu(0, 20)], schedule__batch_size=8, schedule__gradient_accumulation=3)
    first = fit.rungs[0].changes
    assert first == {"schedule.batch_size": 1, "schedule.gradient_accumulation": 24}


def test_full_tuning_is_offered_lora(workspace: Workspace, tmp_path: Path, tiny_model: Path, rows: str) -> None:
    model = hollow_model(tmp_path / "7b", "7b", tiny_model)
    fit = fit_of(workspace, model, rows, [gpu(0, 24)], tuning__method="full", data__max_length=512)
    assert codes(fit)[-1] == "lora"
    assert "optimizer" in codes(fit)
    assert fit.rungs[-1].verdict == "fits"


def test_with_room_the_batch_grows_then_the_rows(workspace: Workspace, tiny_model: Path, rows: str) -> None:
    fit = fit_of(workspace, tiny_model, rows, [cpu(64)], data__max_length=64)
    assert codes(fit) == ["larger_batch", "longer"]
    assert fit.rungs[0].changes == {"schedule.batch_size": 8, "schedule.gradient_accumulation": 1}
    longer = fit.rungs[1].changes["data.max_length"]
    assert 64 < longer <= 512  # the model's context
    assert codes(fit_of(workspace, tiny_model, rows, [cpu(64)], data__max_length=512)) == ["larger_batch"]


def test_rungs_are_settings_that_can_be_applied(
    workspace: Workspace, tmp_path: Path, tiny_model: Path, rows: str
) -> None:
    model = hollow_model(tmp_path / "7b", "7b", tiny_model)
    config = resolve("sft", values={"model.base": str(model), "data.train": rows, "data.max_length": 1024})
    assert isinstance(config, SFTConfig)
    for rung in estimate(config, workspace, [gpu(0, 6)]).rungs:
        assert set(rung.changes) <= set(fields_of(SFTConfig))
        assert rung.code in MESSAGES
        again = changed(config, rung.changes)
        assert estimate(again, workspace, [gpu(0, 6)]).total == rung.total


def test_verdicts_have_a_margin_and_the_worst_device_counts(workspace: Workspace, tiny_model: Path, rows: str) -> None:
    total = fit_of(workspace, tiny_model, rows, [cpu(64)]).total / 1e9
    assert fit_of(workspace, tiny_model, rows, [cpu(1.05 * total)]).verdict == "tight"
    assert fit_of(workspace, tiny_model, rows, [cpu(0.95 * total)]).verdict == "no"
    shared = fit_of(workspace, tiny_model, rows, [cpu(1.5 * total), cpu(1.5 * total, 1)])
    assert shared.verdict == "no"  # two processes, one memory
    pair = fit_of(workspace, tiny_model, rows, [gpu(0, 80), gpu(1, 0.5)])
    assert ([each.verdict for each in pair.devices], pair.verdict) == (["fits", "no"], "no")


def test_a_gpu_that_somebody_uses_is_named(workspace: Workspace, tiny_model: Path, rows: str) -> None:
    fit = fit_of(workspace, tiny_model, rows, [gpu(0, 24, free=0.5)])
    assert fit.verdict == "no"
    assert [note.code for note in fit.notes] == ["fit.busy"]


def test_what_is_longer_than_the_context_is_said(workspace: Workspace, tiny_model: Path, rows: str) -> None:
    fit = fit_of(workspace, tiny_model, rows, [cpu(64)], data__max_length=1024)
    assert "fit.over_context" in [note.code for note in fit.notes]


# -- after a failure --------------------------------------------------------------------------------------------------
def test_rows_without_room_for_an_answer_are_said(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    """Before the run finds them: of several turns the earlier ones can go, one question cannot."""
    long = {"conversations": [{"from": "human", "value": "ba " * 200}, {"from": "gpt", "value": "bo"}]}
    rows = [*conversations(20), *conversations(20, turns=60), *[long] * 10]
    ref = import_file(workspace, write_jsonl(tmp_path / "long.jsonl", rows)).ref

    def noted(stage: str, length: int, **more: object) -> list[tuple]:
        notes = fit_of(workspace, tiny_model, ref, [cpu(64)], stage, data__max_length=length, **more).notes
        wanted = ("fit.no_room", "ppo.long_prompts")
        return [(note.code, note.params["count"], note.params["rows"]) for note in notes if note.code in wanted]

    assert noted("sft", 128) == [("fit.no_room", 10, 50)]
    assert noted("sft", 1024) == []
    assert noted("ppo", 128, rewards__rules=["length low=1 high=9"]) == [("ppo.long_prompts", 30, 50)]


def test_a_run_that_died_of_memory_is_told_what_is_smaller(workspace: Workspace, tiny_model: Path, rows: str) -> None:
    config = resolve(
        "sft",
        values={"model.base": str(tiny_model), "data.train": rows, "data.max_length": 4096, "devices.use": ["cpu:0"],
                "schedule.batch_size": 4096},
    )  # fmt: skip
    assert isinstance(config, SFTConfig)
    rungs = after_memory_failure(config, workspace)
    assert rungs
    assert all(rung.changes["schedule.batch_size"] == 1 for rung in rungs)
    run = RunDir.create(workspace.runs_dir, "sft")
    write_json(run.config_json, config.model_dump(mode="json"))
    assert relief(workspace, run, "run.killed_memory") == rungs
    assert relief(workspace, run, "run.crashed") == []
    write_json(run.config_json, {"model": {"base": "gone"}})
    assert relief(workspace, run, "run.out_of_memory") == []


# -- stages, terminal, speed ------------------------------------------------------------------------------------------
def test_every_stage_that_loads_a_model_has_an_estimate(workspace: Workspace, tiny_model: Path, rows: str) -> None:
    model = str(tiny_model)
    words = {
        "perplexity": [f"model.base={model}", f"data.rows={rows}"],
        "score": [f"model.base={model}", f"data.rows={rows}"],
        "evaluate": [f"models.runs=[{model}]", f"data.rows=[{rows}]"],
        "merge": [f"model.base={model}"],
        "vocabulary": [f"model.base={model}"],
    }
    for stage, given in words.items():
        fit = estimate(resolve(stage, overrides=given), workspace, [cpu(16)])
        assert fit.verdict == "fits"
        assert fit.total == sum(fit.parts.values()) > 0
        assert (fit.steps, fit.rungs) == (None, [])
        assert ("weights" in fit.parts) == (stage != "merge")  # which goes through the files row by row
    for stage in ("fetch", "import", "prepare"):
        assert stage in STAGES
    with pytest.raises(InputError, match="no estimate"):
        estimate(resolve("fetch"), workspace, [cpu(16)])


def test_what_does_not_exist_is_an_error(workspace: Workspace, tiny_model: Path, rows: str) -> None:
    with pytest.raises(ModelError):
        fit_of(workspace, Path("nothing"), rows, [cpu(16)])
    with pytest.raises(DataError):
        fit_of(workspace, tiny_model, "nothing", [cpu(16)])


def test_a_second_look_reads_nothing_anew(
    workspace: Workspace, tiny_model: Path, rows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fit_of(workspace, tiny_model, rows, [cpu(16)])
    monkeypatch.setattr("core.fit.rows._tokens_in", lambda *_: pytest.fail("the tokenizer was asked again"))
    monkeypatch.setattr("core.models.anatomy.read_header", lambda *_: pytest.fail("the weights were read again"))
    assert fit_of(workspace, tiny_model, rows, [cpu(16)]).parts == first.parts


def test_the_terminal_says_it_and_loads_no_torch(workspace: Workspace, tiny_model: Path, rows: str) -> None:
    words = ["fit", "sft", "--workspace", str(workspace.path), f"model.base={tiny_model}", f"data.train={rows}"]
    check = (
        "import sys; from core.__main__ import main; code = main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    told = subprocess.run([sys.executable, "-c", check, *words], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert "weights" in told.stdout
    assert "cpu:0: fits" in told.stdout
    packed = subprocess.run([sys.executable, "-c", check, *words, "--json"], capture_output=True, text=True)
    found = json.loads(packed.stdout)
    assert found["total"] == sum(found["parts"].values())


def test_of_dpo_files_are_estimated_too(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    """A pair is two rows; a second model costs what the first does, and an adapter alone nothing."""
    rows = [{"prompt": "ba be bi", "chosen": "fu fo " * 20, "rejected": "fa " * 20} for _ in range(64)]
    file = write_jsonl(tmp_path / "pairs.jsonl", rows)
    binary = tmp_path / "rows.parquet"
    binary.write_bytes(b"PAR1\0\0\0")
    dataset = import_file(workspace, file).ref
    found = {
        name: estimate(resolve("dpo", overrides=[f"model.base={tiny_model}", f"data.train={text}", *words]), workspace)
        for name, text, *words in (
            ("file", str(file)), ("unknown", str(binary)), ("dataset", dataset),
            ("full", dataset, "tuning.method=full"),
        )
    }  # fmt: skip
    assert found["unknown"].steps is None
    assert found["file"].steps == found["dataset"].steps == 8
    assert found["file"].tokens_per_step == pytest.approx(found["dataset"].tokens_per_step, rel=0.5)
    assert "reference" not in found["dataset"].parts
    assert found["full"].parts["reference"] == found["full"].parts["weights"]
