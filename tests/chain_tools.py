"""What the tests of chained runs share: real SFT runs on the tiny model, each started as a submission leaves it."""

from __future__ import annotations

from pathlib import Path

import orjson
import torch
from torch import Tensor

from core.configs.files import resolve
from core.data.store.library import resolve as resolve_data
from core.models.backbone import load_backbone
from core.models.loading import load_model
from core.models.parents import resolve_parent
from core.recipes import sft
from core.report import Report, RunContext
from core.rundir import RunDir, read_jsonl, write_text
from core.workspace import Workspace

OTHER = ("lora.rank=3", "lora.alpha=5", "lora.targets=[q_proj,down_proj]", "run.seed=2")  # a link unlike the default
IDS = torch.tensor([[5, 17, 60, 101, 33, 8, 240, 77]])


def train(workspace: Workspace, base: Path | str, data: Path, *words: str, run: RunDir | None = None) -> RunDir:
    """An SFT run of three steps in this process, large enough in its steps for every link of a chain to be seen."""
    dataset = resolve_data(workspace, str(data))
    config = resolve(
        "sft",
        overrides=[f"model.base={base}", f"data.train={dataset.ref}", "model.dtype=fp32", "evaluation.prompts=[]",
                   "devices.use=[cpu]", "schedule.max_steps=3", "schedule.batch_size=4", "optim.learning_rate=2e-2",
                   "schedule.gradient_accumulation=1", *words],
    )  # fmt: skip
    run = run or RunDir.create(workspace.runs_dir, "sft")
    write_text(run.config_json, orjson.dumps(config.model_dump(mode="json")).decode())
    sft.main(RunContext(run, workspace, config, Report(run)))
    return run


def losses(run: RunDir) -> list[float]:
    rows, _ = read_jsonl(run.metrics_file)
    return [row["loss"] for row in rows if "loss" in row]


@torch.no_grad()
def logits(model: torch.nn.Module) -> Tensor:
    return model.eval()(input_ids=IDS).logits


def backbone_logits(workspace: Workspace, text: str) -> Tensor:
    """Those of the chain that `text` names, merged in fp32."""
    return logits(load_backbone(resolve_parent(workspace, text), dtype=torch.float32, device="cpu"))


def peft_logits(root: Path, adapter: Path) -> Tensor:
    """Those that plain PEFT gives for the adapter on the root."""
    from peft import PeftModel

    return logits(PeftModel.from_pretrained(load_model(root, dtype=torch.float32, device="cpu"), str(adapter)))


def check_chain(workspace: Workspace, run: RunDir) -> None:
    """adapter_root on the root, in plain PEFT, says what the merged chain says; adapter_stage alone does not."""
    manifest = run.manifest()
    assert manifest is not None
    assert manifest.adapter_root is not None
    assert manifest.adapter_stage is not None
    root = Path(manifest.root_base.path)
    whole = peft_logits(root, run.output / manifest.adapter_root)
    assert (whole - backbone_logits(workspace, run.id)).abs().max() < 1e-4
    assert (whole - peft_logits(root, run.output / manifest.adapter_stage)).abs().max() > 1e-2
