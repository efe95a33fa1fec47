"""The table of families against the models of Transformers, and every stage on tiny models of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch

from core.configs.files import resolve
from core.configs.stages import STAGES
from core.data.encode.named import NAMED
from core.jobs.pinning import pin
from core.models import families
from core.models.families import FAMILIES
from core.report import Report, RunContext
from core.rundir import RunDir, read_jsonl
from core.workspace import Workspace
from tests.conftest import conversations, write_jsonl
from tests.families_tools import KINDS, build_model

EVERY_STAGE = ("llama", "bloom", "baichuan_alibi", "chatglm_6b", "glm", "qwen3", "qwen3_moe")
ONE_STEP = ("qwen2", "mistral", "gemma3_text", "phi3", "deepseek_v2", "gpt_neox", "mixtral")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """kind → its model folder, built once."""
    root = tmp_path_factory.mktemp("families")
    return cache(lambda kind: build_model(kind, root / kind))


# -- the table --------------------------------------------------------------------------------------------------------
def test_no_model_type_is_in_two_families() -> None:
    kinds = [kind for family in FAMILIES for kind in family.model_types]
    assert len(kinds) == len(set(kinds))
    assert all(family.template in NAMED and family.stops for family in FAMILIES)


@pytest.mark.parametrize("kind", KINDS)
def test_targets_are_every_linear_layer_but_head_and_router(made, kind: str) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(made(kind))
    head = model.get_output_embeddings()
    linear = {name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear) and part is not head}
    leaves = {name.rsplit(".", 1)[-1] for name in linear}
    targets = families.lora_targets(families.read_config(made(kind)))
    assert targets is not None
    if families.family_of(model.config.to_dict()).name in ("Qwen MoE", "Mixtral", "DeepSeek"):
        leaves = {name.rsplit(".", 1)[-1] for name in linear if "self_attn" in name}
        # q_proj stands for the two factors where queries are not compressed
        assert leaves == set(targets) - {"q_proj"} | leaves & {"q_proj"}
    else:
        assert leaves == set(targets)


def test_what_is_not_in_the_table() -> None:
    assert families.family_of({"model_type": "novel"}) is None
    assert families.lora_targets({"model_type": "novel"}) is None
    assert families.lora_targets({"model_type": "novel", "num_experts": 8}) == families.ATTENTION
    assert families.template_for({"model_type": "novel"}) == "chatml"
    assert families.stop_tokens({"model_type": "novel"}) == ()
    assert families.family_of({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}}).name == "Gemma"


# -- stages -----------------------------------------------------------------------------------------------------------
def start(workspace: Workspace, recipe: ModuleType, stage: str, *words: str) -> RunDir:
    common = ["model.dtype=fp32", "devices.use=[cpu]", "lora.rank=4", "optim.learning_rate=1e-2"]
    config = pin(workspace, STAGES[stage], resolve(stage, overrides=[*common, *words]))
    run = RunDir.create(workspace.runs_dir, stage)
    run.config_json.write_text(config.model_dump_json())
    recipe.main(RunContext(run, workspace, config, Report(run)))
    return run


def figures(run: RunDir, name: str) -> list[float]:
    return [row[name] for row in read_jsonl(run.metrics_file)[0] if row.get(name) is not None]


def logits_of(base: Path, adapter: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Of plain PEFT: with the adapter, without it."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
    ids = torch.arange(10, 40)[None]
    with torch.no_grad():
        tuned = model(input_ids=ids).logits
        with model.disable_adapter():
            return tuned, model(input_ids=ids).logits


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "chat.jsonl", conversations(16))


@pytest.mark.parametrize("kind", [*ONE_STEP, *EVERY_STAGE])
def test_one_step_of_sft(workspace: Workspace, made, chat: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    from core.recipes import sft

    run = start(workspace, sft, "sft", f"model.base={made(kind)}", f"data.train={chat}", "schedule.max_steps=2",
                "evaluation.prompts=[ba be]", "evaluation.max_new_tokens=4")  # fmt: skip
    assert len(figures(run, "loss")) == 2
    assert "fast path" in capsys.readouterr().out
    tuned, plain = logits_of(made(kind), run.output / "adapter")
    assert torch.isfinite(tuned).all()
    assert (tuned - plain).abs().max() > 1e-4
    samples, _ = read_jsonl(run.samples_file)
    assert samples


@pytest.mark.parametrize("method", ["full", "freeze"])
@pytest.mark.parametrize("kind", ["bloom", "qwen3_moe"])
def test_other_methods(workspace: Workspace, made, chat: Path, kind: str, method: str) -> None:
    from core.recipes import sft

    run = start(workspace, sft, "sft", f"model.base={made(kind)}", f"data.train={chat}", "schedule.max_steps=2",
                "evaluation.prompts=[]", f"tuning.method={method}", "tuning.trainable_layers=1")  # fmt: skip
    from transformers import AutoModelForCausalLM

    trained, base = (AutoModelForCausalLM.from_pretrained(f).state_dict() for f in (run.output / "model", made(kind)))
    assert any(not torch.equal(trained[name], base[name]) for name in base)


@pytest.mark.parametrize("kind", EVERY_STAGE)
def test_every_stage_in_a_row(workspace: Workspace, made, chat: Path, tmp_path: Path, kind: str) -> None:
    """Words, then documents, then conversations, then preferences, then one model of it all."""
    from core.recipes import merge, pretrain, reward, sft, vocabulary

    documents = write_jsonl(
        tmp_path / "text.jsonl", [{"text": "黄疸 ba be 黄疸 bi bo. " * 4 + str(n)} for n in range(24)]
    )
    words = resolve("vocabulary", overrides=[f"model.base={made(kind)}", f"words.corpus={documents}", "words.size=4"])
    grown = RunDir.create(workspace.runs_dir, "vocabulary")
    words = pin(workspace, STAGES["vocabulary"], words)
    grown.config_json.write_text(words.model_dump_json())
    vocabulary.main(RunContext(grown, workspace, words, Report(grown)))

    read = start(workspace, pretrain, "pretrain", f"model.base={grown.id}", f"data.train={documents}",
                 "data.block_size=64", "schedule.max_steps=3", "evaluation.prompts=[]")  # fmt: skip
    assert figures(read, "eval_loss")[-1] < figures(read, "eval_loss")[0]

    told = start(workspace, sft, "sft", f"model.base={read.id}", f"data.train={chat}", "schedule.max_steps=3",
                 "evaluation.prompts=[]")  # fmt: skip
    assert len(figures(told, "loss")) == 3

    pairs = [{"prompt": f"ba {n}", "chosen": "bo bu bo", "rejected": "di du"} for n in range(24)]
    compared = write_jsonl(tmp_path / "pairs.jsonl", pairs)
    judged = start(
        workspace, reward, "reward", f"model.base={told.id}", f"data.train={compared}", "schedule.max_steps=6"
    )
    assert figures(judged, "eval_accuracy")[-1] == 1

    config = pin(workspace, STAGES["merge"], resolve("merge", overrides=[f"model.base={told.id}", "devices.use=[cpu]"]))
    merged = RunDir.create(workspace.runs_dir, "merge")
    merged.config_json.write_text(config.model_dump_json())
    merge.main(RunContext(merged, workspace, config, Report(merged)))
    assert merged.manifest_file.is_file()
