"""Reward models, this project beside TRL's RewardTrainer: the same model, pairs and hyper-parameters in one run.

    pip install -r benchmarks/requirements.txt
    python -m core model starter
    python -m benchmarks.reward                    # every setting of TRL: 10 minutes on two cores
    python -m benchmarks.reward --only bf16        # TRL's usual best ones

Each contestant trains in a process of its own, LoRA rank 8 on all linear layers and a score head that begins at 0,
batch 2 × 4 pairs, at most 512 tokens an answer, the pairs in the same order as the same token ids, learning rate
constant. Printed for each: pairs a second from the end of the first step to the end of the last (loading and the first
step's warm-up are left out), the loss of every step, loss and accuracy on held-out pairs by Transformers' own
sequence-classification forward, and the peak resident memory while training. The last line is the ratio to TRL's
fastest.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.rows import pair_rows
from benchmarks.sft import ACCUMULATION, ALPHA, BATCH, OURS, RANK, figures, our_order, peak_memory
from core.jobs.supervisor import CPU_ENVIRONMENT

MAX_LENGTH, LEARNING_RATE, CENTRING = 512, 2e-4, 0.01
HELD_OUT = 40


def contestants() -> list[str]:
    peers = [f"trl-{dtype}{checkpointing}" for dtype in ("bf16", "fp32") for checkpointing in ("", "-checkpointing")]
    return [OURS, *peers]


# -- the two sides ----------------------------------------------------------------------------------------------------
def train_ours(model: Path, rows: list[dict[str, str]], folder: Path) -> dict[str, Any]:
    import torch

    from core.configs.files import resolve
    from core.data.store.library import import_file
    from core.recipes import reward
    from core.report import Report, RunContext
    from core.rundir import RunDir, read_jsonl
    from core.training.trainer import StageTrainer
    from core.workspace import Workspace

    workspace = Workspace(folder)
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = import_file(workspace, file)
    config = resolve(
        "reward",
        overrides=[f"model.base={model}", f"data.train={dataset.ref}", f"data.max_length={MAX_LENGTH}",
                   "data.validation_split=0", f"lora.rank={RANK}", f"lora.alpha={ALPHA}", "schedule.epochs=1",
                   f"schedule.batch_size={BATCH}", f"schedule.gradient_accumulation={ACCUMULATION}",
                   f"preference.centring={CENTRING}", "schedule.scheduler=constant", "schedule.warmup_ratio=0",
                   f"optim.learning_rate={LEARNING_RATE}"],
    )  # fmt: skip
    run = RunDir.create(workspace.runs_dir, "reward")
    seen: dict[str, Any] = {}
    start = StageTrainer.continue_or_start

    def keep(trainer: StageTrainer) -> None:
        start(trainer)
        seen["memory"] = peak_memory()

    StageTrainer.continue_or_start = keep  # type: ignore[method-assign]
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    reward.main(RunContext(run, workspace, config, Report(run), device=device))
    logged, _ = read_jsonl(run.metrics_file)
    losses = [row for row in logged if "loss" in row]
    found = figures([row["time"] for row in losses], [row["loss"] for row in losses], len(rows))
    return {**found, **seen, "adapter": str(run.output / "adapter")}


def train_trl(name: str, model: Path, rows: list[dict[str, str]], folder: Path) -> dict[str, Any]:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
    from trl import RewardConfig, RewardTrainer

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            times.append(time.time())

    times: list[float] = []
    bf16 = "bf16" in name
    config = RewardConfig(
        output_dir=str(folder),
        per_device_train_batch_size=BATCH,
        gradient_accumulation_steps=ACCUMULATION,
        max_length=None,  # the ids are cut already
        center_rewards_coefficient=CENTRING,
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
    whole = AutoModelForSequenceClassification.from_pretrained(
        model, num_labels=1, dtype=torch.bfloat16 if bf16 else torch.float32
    )
    torch.nn.init.zeros_(whole.score.weight)
    tokenizer = AutoTokenizer.from_pretrained(model)
    trainer = RewardTrainer(
        whole,
        args=config,
        train_dataset=Dataset.from_list([encoded(tokenizer, row) for row in rows]),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="SEQ_CLS", modules_to_save=["score"]
        ),
        callbacks=[Clock()],
    )
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    memory = peak_memory()
    trainer.save_model(str(folder / "adapter"))
    return {**figures(times, losses, len(rows)), "memory": memory, "adapter": str(folder / "adapter")}


def encoded(tokenizer: Any, row: dict[str, str]) -> dict[str, list[int]]:
    """Both answers behind their prompt as ids that end with the end-of-turn token: what our encoder makes of them."""
    found = {}
    for key in ("chosen", "rejected"):
        said = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row[key]}]
        ids = tokenizer.apply_chat_template(said)["input_ids"]
        found[f"{key}_ids"] = ids[: len(ids) - ids[::-1].index(tokenizer.eos_token_id)][:MAX_LENGTH]
    return found


# -- measuring --------------------------------------------------------------------------------------------------------
def held_out(model: Path, adapter: Path, rows: list[dict[str, str]]) -> dict[str, float]:
    """Loss and accuracy of the saved adapter on Transformers' own sequence-classification model, a text at a time."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    base = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1, dtype=torch.float32)
    tuned = PeftModel.from_pretrained(base, adapter).eval()
    tokenizer = AutoTokenizer.from_pretrained(model)
    scores = []
    for row in rows:
        pair = encoded(tokenizer, row)
        with torch.no_grad():
            both = [tuned(input_ids=torch.tensor([pair[f"{key}_ids"]])).logits.item() for key in ("chosen", "rejected")]
        scores.append(both)
    chosen, rejected = torch.tensor(scores).unbind(-1)
    loss = -torch.nn.functional.logsigmoid(chosen - rejected) + CENTRING * (chosen + rejected) ** 2
    return {"held_out_loss": loss.mean().item(), "accuracy": (chosen > rejected).float().mean().item()}


def run_one(name: str, model: Path, count: int) -> dict[str, Any]:
    rows = pair_rows(count + HELD_OUT)
    train, judged = rows[:count], rows[count:]
    with tempfile.TemporaryDirectory() as folder:
        if name == OURS:
            result = train_ours(model, train, Path(folder))
        else:
            result = train_trl(name, model, [train[i] for i in our_order(train)], Path(folder))
        return {**result, **held_out(model, Path(result.pop("adapter")), judged)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("workspace/models/SmolLM2-135M-Instruct"))
    parser.add_argument("--rows", type=int, default=80, help="training pairs, eight a step")
    parser.add_argument("--only", default="", help="TRL settings whose name contains this, e.g. bf16")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(run_one(args.one, args.model, args.rows)))
        return
    chosen = [name for name in contestants() if name == OURS or args.only in name]
    results = {}
    print(f"{'':24}{'pairs/s':>9}{'peak MB':>9}{'held-out':>10}{'accuracy':>10}  loss by step")
    for name in chosen:
        command = [sys.executable, "-m", "benchmarks.reward", "--one", name]
        command += ["--model", str(args.model), "--rows", str(args.rows)]
        # Ours gets what the supervisor gives a run on a CPU; TRL runs as its users run it.
        env = {**os.environ, **(CPU_ENVIRONMENT if name == OURS and sys.platform == "linux" else {})}
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        if done.returncode:
            sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
        result = results[name] = json.loads(done.stdout.splitlines()[-1])
        curve = " ".join(f"{loss:.3f}" for loss in result["losses"])
        print(
            f"{name:22}{result['rows_per_second']:11.3f}{result['memory']:9.0f}{result['held_out_loss']:10.4f}"
            f"{result['accuracy']:10.1%}  {curve}",
            flush=True,
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
