"""Supervised fine-tuning, this project beside TRL's SFTTrainer: the same model, rows and hyper-parameters in one run.

    pip install -r benchmarks/requirements.txt
    python -m core model starter
    python -m benchmarks.sft                       # every setting of TRL: 15 minutes on two cores
    python -m benchmarks.sft --only bf16           # TRL's usual best ones

Each contestant trains in a process of its own, LoRA rank 8 on all linear layers, batch 2 × 4, at most 512 tokens, the
rows in the same order, learning rate constant. Printed for each: rows a second from the end of the first step to the
end of the last (loading and the first step's warm-up are left out), the loss of every step, the loss on held-out rows
by one and the same plain forward, and the peak resident memory while training. The last line is the ratio to TRL's
fastest.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.rows import alpaca_rows
from core.jobs.supervisor import CPU_ENVIRONMENT

BATCH, ACCUMULATION, MAX_LENGTH, LEARNING_RATE, RANK, ALPHA = 2, 4, 512, 2e-4, 8, 16
HELD_OUT = 24
OURS = "galen"


def contestants() -> list[str]:
    peers = [
        f"trl-{dtype}{packed}{checkpointing}"
        for dtype in ("bf16", "fp32")
        for packed in ("", "-packed")
        for checkpointing in ("", "-checkpointing")
    ]
    return [OURS, *peers]


# -- the two sides ----------------------------------------------------------------------------------------------------
def train_ours(model: Path, rows: list[dict[str, str]], folder: Path, dtype: str = "auto") -> dict[str, Any]:
    import torch

    from core.configs.files import resolve
    from core.data.store.library import import_file
    from core.recipes import sft
    from core.report import Report, RunContext
    from core.rundir import RunDir, read_jsonl
    from core.training.trainer import StageTrainer
    from core.workspace import Workspace

    workspace = Workspace(folder)
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = import_file(workspace, file)
    config = resolve(
        "sft",
        overrides=[f"model.base={model}", f"data.train={dataset.ref}", f"data.max_length={MAX_LENGTH}",
                   f"model.dtype={dtype}", f"lora.rank={RANK}", f"lora.alpha={ALPHA}", "schedule.epochs=1",
                   f"schedule.batch_size={BATCH}", f"schedule.gradient_accumulation={ACCUMULATION}",
                   "schedule.scheduler=constant", f"optim.learning_rate={LEARNING_RATE}", "evaluation.prompts=[]"],
    )  # fmt: skip
    run = RunDir.create(workspace.runs_dir, "sft")
    seen: dict[str, Any] = {}
    start = StageTrainer.continue_or_start

    def keep(trainer: StageTrainer) -> None:
        start(trainer)
        seen["model"], seen["memory"] = trainer.model.model, peak_memory()
        seen["order"] = [int(row) for [step] in trainer.sampler for row in sorted(step.rows)]

    StageTrainer.continue_or_start = keep  # type: ignore[method-assign]
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    sft.main(RunContext(run, workspace, config, Report(run), device=device))
    logged, _ = read_jsonl(run.metrics_file)
    return {**figures([row["time"] for row in logged], [row["loss"] for row in logged], len(rows)), **seen}


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
        max_length=MAX_LENGTH,
        packing="packed" in name,
        gradient_checkpointing="checkpointing" in name,
        bf16=bf16,
        use_cpu=not torch.cuda.is_available(),
        num_train_epochs=1,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        train_sampling_strategy="sequential",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16 if bf16 else torch.float32),
        args=config,
        train_dataset=Dataset.from_list([conversation(row) for row in rows]),
        processing_class=AutoTokenizer.from_pretrained(model),
        peft_config=LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[Clock()],
    )
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return {**figures(times, losses, len(rows)), "memory": peak_memory(), "model": trainer.model}


def conversation(row: dict[str, str]) -> dict[str, list[dict[str, str]]]:
    question = row["instruction"] + ("\n" + row["input"] if row["input"] else "")
    return {
        "prompt": [{"role": "user", "content": question}],
        "completion": [{"role": "assistant", "content": row["output"]}],
    }


# -- measuring --------------------------------------------------------------------------------------------------------
def figures(times: list[float], losses: list[float], rows: int) -> dict[str, Any]:
    """Rows a second over all steps but the first; packed steps hold equal shares of the rows."""
    share = (len(times) - 1) / len(times)
    return {"rows_per_second": rows * share / (times[-1] - times[0]), "losses": [round(loss, 4) for loss in losses]}


def peak_memory() -> float:
    """Peak resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def held_out_loss(model: Any, folder: Path, rows: list[dict[str, str]]) -> float:
    """Mean −log p over the answers' tokens, each row alone through Transformers' own forward."""
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model.eval()
    total = count = 0.0
    for row in rows:
        prompt, answer = (conversation(row)[part] for part in ("prompt", "completion"))
        start = len(tokenizer.apply_chat_template(prompt, add_generation_prompt=True)["input_ids"])
        ids = torch.tensor([tokenizer.apply_chat_template(prompt + answer)["input_ids"][:MAX_LENGTH]])
        with torch.no_grad():
            logprobs = model(input_ids=ids.to(model.device), use_cache=False).logits[0].float().log_softmax(-1)
        targets = ids[0, start:].to(logprobs.device)
        total -= logprobs[start - 1 : -1].gather(1, targets[:, None]).sum().item()
        count += len(targets)
    return total / count


def run_one(name: str, model: Path, count: int) -> dict[str, Any]:
    rows = alpaca_rows(count + HELD_OUT)
    train, held_out = rows[:count], rows[count:]
    with tempfile.TemporaryDirectory() as folder:
        if name == OURS:
            result = train_ours(model, train, Path(folder))
        else:
            result = train_trl(name, model, [train[i] for i in our_order(train)], Path(folder))
        trained = result.pop("model")
        if name == OURS:
            from core.training.attention import plain_attention

            with plain_attention(trained.get_base_model()):
                result["held_out_loss"] = held_out_loss(trained, model, held_out)
        else:
            result["held_out_loss"] = held_out_loss(trained, model, held_out)
    return result


def our_order(rows: list[dict[str, str]]) -> list[int]:
    """The rows in the order our sampler takes them, so that both sides' steps hold the same rows."""
    import numpy as np

    from core.training.batching import StepSampler

    ones = np.ones(len(rows), dtype=np.int64)
    sampler = StepSampler(ones, ones, rows_per_step=BATCH * ACCUMULATION, seed=42)
    return [row for [step] in sampler for row in step.rows]


# -- the comparison ---------------------------------------------------------------------------------------------------
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("workspace/models/SmolLM2-135M-Instruct"))
    parser.add_argument("--rows", type=int, default=80, help="training rows, eight a step")
    parser.add_argument("--only", default="", help="TRL settings whose name contains this, e.g. bf16 or packed")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(run_one(args.one, args.model, args.rows)))
        return
    chosen = [name for name in contestants() if name == OURS or args.only in name]
    results = {}
    print(f"{'':30}{'rows/s':>8}{'peak MB':>9}{'held-out':>10}  loss by step")
    for name in chosen:
        command = [sys.executable, "-m", "benchmarks.sft", "--one", name]
        command += ["--model", str(args.model), "--rows", str(args.rows)]
        # Ours gets what the supervisor gives a run on a CPU; TRL runs as its users run it.
        env = {**os.environ, **(CPU_ENVIRONMENT if name == OURS and sys.platform == "linux" else {})}
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        if done.returncode:
            sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
        result = results[name] = json.loads(done.stdout.splitlines()[-1])
        curve = " ".join(f"{loss:.3f}" for loss in result["losses"])
        print(
            f"{name:28}{result['rows_per_second']:8.3f}{result['memory']:9.0f}{result['held_out_loss']:10.4f}  {curve}"
        )
    peers = {name: result for name, result in results.items() if name != OURS}
    best = max(peers, key=lambda name: peers[name]["rows_per_second"])
    ours, peer = results[OURS], peers[best]
    loss = ours["held_out_loss"] / peer["held_out_loss"] - 1
    print(
        f"\nratio to TRL's fastest ({best}): {ours['rows_per_second'] / peer['rows_per_second']:.2f}×, "
        f"held-out loss {loss:+.2%}, memory {ours['memory'] / peer['memory']:.2f}×, "
        f"least of TRL's memories {math.floor(min(r['memory'] for r in peers.values()))} MB"
    )


if __name__ == "__main__":
    main()
