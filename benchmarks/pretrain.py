"""Continue-pretraining, this project beside TRL's SFTTrainer on packed text: the same model, documents and
hyper-parameters in one run.

    pip install -r benchmarks/requirements.txt
    python -m core model starter
    python -m benchmarks.pretrain                  # every setting of TRL: 20 minutes on two cores
    python -m benchmarks.pretrain --only bf16      # TRL's usual best ones

Each contestant trains in a process of its own, LoRA rank 8 on all linear layers, blocks of 512 tokens, 2 × 4 a step,
learning rate constant, each document ended with the same end mark. `isolated` and `joined` are this project's two ways
of packing, `bfd_split` and `wrapped` TRL's; the first of each keeps documents apart (TRL's plain `bfd` would lose the
ends of long ones). Printed for each: documents and tokens a second from the end of the first step to the end of the
last (loading and the first step's warm-up are left out), the loss of every step, the loss on held-out documents, each
by itself through Transformers' own forward, and the peak resident memory while training. The last lines are the ratios
to TRL's fastest of either kind.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.rows import document_rows
from benchmarks.sft import ACCUMULATION, ALPHA, BATCH, RANK, peak_memory
from core.jobs.supervisor import CPU_ENVIRONMENT

BLOCK, LEARNING_RATE, END = 512, 2e-4, "<|endoftext|>"
HELD_OUT = 16
APART, TOGETHER = ("isolated", "bfd_split"), ("joined", "wrapped")
OURS = {f"galen-{packing}": packing for packing in ("isolated", "joined")}


def contestants() -> list[str]:
    peers = [
        f"trl-{dtype}-{strategy}{checkpointing}"
        for dtype in ("bf16", "fp32")
        for strategy in ("bfd_split", "wrapped")
        for checkpointing in ("", "-checkpointing")
    ]
    return [*OURS, *peers]


# -- the two sides ----------------------------------------------------------------------------------------------------
def train_ours(packing: str, model: Path, rows: list[dict[str, str]], folder: Path) -> dict[str, Any]:
    import torch

    from core.configs.files import resolve
    from core.data.store.library import import_file
    from core.recipes import pretrain
    from core.report import Report, RunContext
    from core.rundir import RunDir, read_jsonl
    from core.training.trainer import StageTrainer
    from core.workspace import Workspace

    workspace = Workspace(folder)
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = import_file(workspace, file)
    config = resolve(
        "pretrain",
        overrides=[f"model.base={model}", f"data.train={dataset.ref}", f"data.block_size={BLOCK}",
                   f"data.packing={packing}", "data.validation_split=0", f"lora.rank={RANK}", f"lora.alpha={ALPHA}",
                   "schedule.epochs=1", f"schedule.batch_size={BATCH}",
                   f"schedule.gradient_accumulation={ACCUMULATION}", "schedule.scheduler=constant",
                   f"optim.learning_rate={LEARNING_RATE}", "evaluation.prompts=[]"],
    )  # fmt: skip
    run = RunDir.create(workspace.runs_dir, "pretrain")
    seen: dict[str, Any] = {}
    start = StageTrainer.continue_or_start

    def keep(trainer: StageTrainer) -> None:
        start(trainer)
        seen["model"], seen["memory"] = trainer.model.model, peak_memory()

    StageTrainer.continue_or_start = keep  # type: ignore[method-assign]
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    pretrain.main(RunContext(run, workspace, config, Report(run), device=device))
    logged = [row for row in read_jsonl(run.metrics_file)[0] if "loss" in row]
    tokens = logged[-1]["tokens"] - logged[0]["tokens"]
    return {
        **figures([row["time"] for row in logged], tokens, logged[-1]["tokens"], len(rows)),
        "losses": [round(row["loss"], 4) for row in logged],
        **seen,
    }


def train_trl(name: str, model: Path, rows: list[dict[str, str]], folder: Path) -> dict[str, Any]:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            times.append(time.time())

    times: list[float] = []
    bf16 = "bf16" in name
    config = SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=BATCH,
        gradient_accumulation_steps=ACCUMULATION,
        max_length=BLOCK,
        packing=True,
        packing_strategy="wrapped" if "wrapped" in name else "bfd_split",
        eos_token=END,
        gradient_checkpointing="checkpointing" in name,
        bf16=bf16,
        use_cpu=not torch.cuda.is_available(),
        num_train_epochs=1,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16 if bf16 else torch.float32),
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(model),
        peft_config=LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[Clock()],
    )
    trainer.train()
    blocks = [len(row["input_ids"]) for row in trainer.train_dataset]
    total = sum(blocks)
    tokens = total * (1 - BATCH * ACCUMULATION / len(blocks))  # blocks are full but for the last
    losses = [round(row["loss"], 4) for row in trainer.state.log_history if "loss" in row]
    return {**figures(times, tokens, total, len(rows)), "losses": losses, "memory": peak_memory(),
            "model": trainer.model}  # fmt: skip


# -- measuring --------------------------------------------------------------------------------------------------------
def figures(times: list[float], tokens: float, total: float, rows: int) -> dict[str, float]:
    """Tokens a second over all steps but the first, in which `tokens` of `total` were seen; documents in proportion."""
    speed = tokens / (times[-1] - times[0])
    return {"tokens_per_second": speed, "rows_per_second": rows * speed / total}


def held_out_loss(model: Any, folder: Path, rows: list[dict[str, str]]) -> float:
    """Mean −log p over the documents' tokens, each document alone through Transformers' own forward."""
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model.eval()
    total = count = 0.0
    for row in rows:
        ids = torch.tensor([tokenizer(row["text"] + END)["input_ids"][:BLOCK]])
        with torch.no_grad():
            logprobs = model(input_ids=ids.to(model.device), use_cache=False).logits[0, :-1].float().log_softmax(-1)
        targets = ids[0, 1:].to(logprobs.device)
        total -= logprobs.gather(1, targets[:, None]).sum().item()
        count += len(targets)
    return total / count


def run_one(name: str, model: Path, count: int) -> dict[str, Any]:
    rows = document_rows(count + HELD_OUT)
    train, held_out = rows[:count], rows[count:]
    with tempfile.TemporaryDirectory() as folder:
        if name in OURS:
            result = train_ours(OURS[name], model, train, Path(folder))
        else:
            result = train_trl(name, model, train, Path(folder))
        trained = result.pop("model")
        if name in OURS:
            from core.training.attention import plain_attention

            with plain_attention(trained.get_base_model()):
                result["held_out_loss"] = held_out_loss(trained, model, held_out)
        else:
            result["held_out_loss"] = held_out_loss(trained, model, held_out)
    return result


# -- the comparison ---------------------------------------------------------------------------------------------------
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("workspace/models/SmolLM2-135M-Instruct"))
    parser.add_argument("--documents", type=int, default=200, help="training documents: about 75 blocks of 512 tokens")
    parser.add_argument("--only", default="", help="contestants whose name contains this, e.g. bf16, wrapped or galen")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(run_one(args.one, args.model, args.documents)))
        return
    results = {}
    print(f"{'':30}{'rows/s':>8}{'tokens/s':>10}{'peak MB':>9}{'held-out':>10}  loss by step")
    for name in (name for name in contestants() if name in OURS or args.only in name):
        command = [sys.executable, "-m", "benchmarks.pretrain", "--one", name]
        command += ["--model", str(args.model), "--documents", str(args.documents)]
        # Ours gets what the supervisor gives a run on a CPU; TRL runs as its users run it.
        env = {**os.environ, **(CPU_ENVIRONMENT if name in OURS and sys.platform == "linux" else {})}
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        if done.returncode:
            sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
        result = results[name] = json.loads(done.stdout.splitlines()[-1])
        curve = " ".join(f"{loss:.3f}" for loss in result["losses"])
        print(
            f"{name:30}{result['rows_per_second']:8.3f}{result['tokens_per_second']:10.0f}{result['memory']:9.0f}"
            f"{result['held_out_loss']:10.4f}  {curve}",
            flush=True,
        )
    for ours, theirs in (APART, TOGETHER):
        compare(results, f"galen-{ours}", theirs)


def compare(results: dict[str, dict[str, Any]], ours: str, strategy: str) -> None:
    """Print the ratio of one of our ways to TRL's fastest setting of the same kind, where both were run."""
    peers = {name: result for name, result in results.items() if strategy in name}
    if not peers:
        return
    best = max(peers, key=lambda name: peers[name]["tokens_per_second"])
    own, peer = results[ours], peers[best]
    loss = own["held_out_loss"] / peer["held_out_loss"] - 1
    print(
        f"{ours} to TRL's fastest ({best}): {own['rows_per_second'] / peer['rows_per_second']:.2f}× the rows, "
        f"held-out loss {loss:+.2%}, memory {own['memory'] / peer['memory']:.2f}×"
    )


if __name__ == "__main__":
    main()
