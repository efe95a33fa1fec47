"""PPO, this project beside the last TRL that had a PPOTrainer: the same model, prompts, reward and hyper-parameters.

    python -m core model starter
    python -m benchmarks.ppo                       # 64 answers for each: half an hour on two cores
    python -m benchmarks.ppo --only by-4           # one of them; --episodes 208 for the reward's curve

trl==1.12.0 is installed into workspace/cache/trl-1.12 when it is not there; only the peers' processes see it. Each
contestant runs in a process of its own: 16 Alpaca prompts a rollout, always the same, 48 new tokens at temperature 1,
four epochs of one minibatch of 16 answers, KL penalty 0.05, LoRA rank 8 on all linear layers of the policy, the same
learning rate, falling to 0. The reward is a rule, so it costs neither side a model; the critic is what each side makes
of it: TRL's is a second backbone of which every weight learns, with a head of random values.

Printed for each: answers (episodes) a second from the end of the first rollout to the end of the last, what a rollout
took by phase, CPU seconds an answer (all threads; other work on the machine disturbs them less), the peak resident
memory, and the mean reward of every rollout. The last line is the ratio to TRL's fastest.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.rows import alpaca_rows
from benchmarks.sft import ALPHA, OURS, RANK, conversation, peak_memory
from core.jobs.supervisor import CPU_ENVIRONMENT
from core.rules import Answer, rule

TRL = "trl==1.12.0"
PROMPTS, NEW_TOKENS, EPOCHS, TEMPERATURE, KL = 16, 48, 4, 1.0, 0.05
PHASES = ("sampling", "scoring", "learning")
# Setting → data type of TRL's weights, mixed precision, answers that learn at once.
PEERS = {
    **{f"trl-bf16-by-{at_once}": ("bfloat16", "no", at_once) for at_once in (16, 8, 4, 2)},
    "trl-mixed-by-16": ("float32", "bf16", 16),  # TRL samples and scores in fp32 then: only learning is mixed
}


@rule
def short_words(answer: Answer) -> float:
    """The reward: the share of an answer's words that have at most four letters, from 0 to 1; 0 for no words."""
    words = re.findall(r"[^\W\d_]+", answer.text)
    return sum(len(word) <= 4 for word in words) / len(words) if words else 0.0


# -- the two sides ----------------------------------------------------------------------------------------------------
def train_ours(model: Path, episodes: int, learning_rate: float, folder: Path) -> dict[str, Any]:
    import torch

    from core.configs.files import resolve
    from core.data.store.library import import_file
    from core.recipes import ppo
    from core.report import Report, RunContext
    from core.rundir import RunDir, read_jsonl
    from core.workspace import Workspace

    class Watched(Report):
        def metrics(self, step: int, epoch: float, **figures: float) -> None:
            super().metrics(step, epoch, **figures)
            if "reward" in figures:
                ends.append(now())

    ends: list[Moment] = []
    workspace = Workspace(folder)
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in alpaca_rows(PROMPTS)))
    config = resolve(
        "ppo",
        overrides=[f"model.base={model}", f"data.train={import_file(workspace, file).ref}", "data.validation_split=0",
                   f"rewards.rules=[{short_words.__name__}]", "rewards.missing_end=null", f"rollout.prompts={PROMPTS}",
                   f"rollout.max_new_tokens={NEW_TOKENS}", f"rollout.temperature={TEMPERATURE}",
                   f"ppo.episodes={episodes}", f"ppo.epochs={EPOCHS}", "ppo.minibatches=1", f"ppo.kl_coefficient={KL}",
                   f"lora.rank={RANK}", f"lora.alpha={ALPHA}", f"optim.learning_rate={learning_rate}",
                   f"evaluation.steps={episodes}"],
    )  # fmt: skip
    run = RunDir.create(workspace.runs_dir, "ppo")
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    ppo.main(RunContext(run, workspace, config, Watched(run), device=device))
    rows = [row for row in read_jsonl(run.metrics_file)[0] if "reward" in row]
    return {
        **speed(ends),
        **{phase: mean(row[f"{phase}_seconds"] for row in rows[1:]) for phase in PHASES},
        "rewards": [row["reward"] for row in rows],
        "kl": [row["kl"] for row in rows],
    }


def train_trl(name: str, model: Path, episodes: int, learning_rate: float, folder: Path) -> dict[str, Any]:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            watch.step_ends()

    dtype, _, at_once = PEERS[name]
    weights = {"dtype": getattr(torch, dtype)}
    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    prompts = [
        tokenizer.apply_chat_template(conversation(row)["prompt"], add_generation_prompt=True)["input_ids"]
        for row in alpaca_rows(PROMPTS)
    ]
    reward = rule_model(tokenizer)
    watch = Watch(reward)
    trainer = PPOTrainer(
        args=PPOConfig(
            output_dir=str(folder),
            per_device_train_batch_size=at_once,
            gradient_accumulation_steps=PROMPTS // at_once,
            num_mini_batches=1,
            num_ppo_epochs=EPOCHS,
            total_episodes=episodes,
            response_length=NEW_TOKENS,
            temperature=TEMPERATURE,
            kl_coef=KL,
            stop_token="eos",
            learning_rate=learning_rate,
            num_sample_generations=0,
            use_cpu=not torch.cuda.is_available(),
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        processing_class=tokenizer,
        model=AutoModelForCausalLM.from_pretrained(model, **weights),
        ref_model=None,
        reward_model=reward,
        value_model=AutoModelForSequenceClassification.from_pretrained(model, num_labels=1, **weights),
        train_dataset=Dataset.from_dict({"input_ids": prompts}),
        eval_dataset=Dataset.from_dict({"input_ids": prompts}),  # its trainer wants one, and does not use it
        peft_config=LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[Clock()],
    )
    trainer.train()
    logged = trainer.state.log_history
    return {
        **speed(watch.ends),
        **{phase: mean(seconds[1:]) for phase, seconds in watch.seconds.items()},
        "rewards": [row["objective/scores"] for row in logged],
        "kl": [row["objective/kl"] for row in logged],
    }


def rule_model(tokenizer: Any) -> Any:
    """The rule as TRL asks for it: a module with a backbone and a `score` head. `prompt` is the padded prompts' length,
    which TRL does not tell it."""
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    def answer(ids: list[int]) -> Answer:
        text = tokenizer.decode(ids, skip_special_tokens=True)
        return Answer(text, question="", reference=None, tokens=len(ids), ended=tokenizer.eos_token_id in ids)

    class Backbone(torch.nn.Module):
        prompt = 0

        def forward(self, input_ids: Any, attention_mask: Any, **kwargs: Any) -> Any:
            answers = zip(input_ids[:, self.prompt :], attention_mask[:, self.prompt :], strict=True)
            scores = [short_words(answer(ids[mask].tolist())) for ids, mask in answers]
            hidden = torch.tensor(scores, device=input_ids.device)[:, None, None].expand(*input_ids.shape, 1)
            return BaseModelOutput(last_hidden_state=hidden, hidden_states=(hidden,))

    class Rule(torch.nn.Module):
        base_model_prefix = "backbone"

        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.score = Backbone(), torch.nn.Identity()

    return Rule()


class Watch:
    """Seconds by phase inside PPOTrainer.train(): sampling is `batch_generation`; scoring ends, and learning begins,
    with the first forward that keeps gradients."""

    def __init__(self, reward: Any) -> None:
        import torch
        from trl.experimental.ppo import ppo_trainer

        self.ends: list[Moment] = []
        self.seconds: dict[str, list[float]] = {phase: [] for phase in PHASES}
        generate, forward = ppo_trainer.batch_generation, ppo_trainer.forward

        def timed_generation(model: Any, queries: Any, *args: Any) -> Any:
            reward.backbone.prompt = queries.shape[1]
            self.since = time.perf_counter()
            found = generate(model, queries, *args)
            self._phase_ends("sampling")
            return found

        def timed_forward(*args: Any) -> Any:
            if torch.is_grad_enabled() and len(self.seconds["scoring"]) < len(self.seconds["sampling"]):
                self._phase_ends("scoring")
            return forward(*args)

        ppo_trainer.batch_generation, ppo_trainer.forward = timed_generation, timed_forward

    def _phase_ends(self, phase: str) -> None:
        began, self.since = self.since, time.perf_counter()
        self.seconds[phase].append(self.since - began)

    def step_ends(self) -> None:
        self._phase_ends("learning")
        self.ends.append(now())


# -- measuring --------------------------------------------------------------------------------------------------------
class Moment(NamedTuple):
    """Seconds by the clock, those that this process' threads have computed, and its peak memory so far in MB."""

    clock: float
    computed: float
    memory: float


def now() -> Moment:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Moment(time.perf_counter(), used.ru_utime + used.ru_stime, peak_memory())


def speed(ends: list[Moment]) -> dict[str, float]:
    """From the end of the first rollout to the end of the last, and the memory up to there."""
    first, last, answers = ends[0], ends[-1], PROMPTS * (len(ends) - 1)
    return {
        "episodes_per_second": answers / (last.clock - first.clock),
        "cpu_seconds": (last.computed - first.computed) / answers,
        "memory": last.memory,
    }


def mean(values: Any) -> float:
    values = list(values)
    return sum(values) / len(values)


def peer_folder(cache: Path) -> Path:
    """Where TRL is, installed when it is not there yet; what it needs is here already."""
    folder = cache / "trl-1.12"
    if not (folder / f"{TRL.replace('==', '-')}.dist-info").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--upgrade", "--target", str(folder), TRL]
        subprocess.run(pip, check=True, stdout=sys.stderr)
    return folder


def environment(name: str, cache: Path) -> dict[str, str]:
    """Ours gets what the supervisor gives a run on a CPU; TRL runs as its users run it."""
    if name == OURS:
        return {**os.environ, **(CPU_ENVIRONMENT if sys.platform == "linux" else {})}
    path = os.pathsep.join(filter(None, (str(peer_folder(cache)), os.environ.get("PYTHONPATH"))))
    own = {"PYTHONPATH": path, "ACCELERATE_MIXED_PRECISION": PEERS[name][1], "TRL_EXPERIMENTAL_SILENCE": "1"}
    return {**os.environ, **own}


def run_one(name: str, model: Path, episodes: int, learning_rate: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        if name == OURS:
            return train_ours(model, episodes, learning_rate, Path(folder))
        return train_trl(name, model, episodes, learning_rate, Path(folder))


# -- the comparison ---------------------------------------------------------------------------------------------------
def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.ppo", "--one", name, "--model", str(args.model)]
    command += [f"--episodes={args.episodes}", f"--learning-rate={args.learning_rate}"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(name, args.cache.resolve()))
    if done.returncode:
        sys.exit(f"{name} failed with exit status {done.returncode}:\n{done.stderr[-3000:]}")
    result = json.loads(done.stdout.splitlines()[-1])
    curve = " ".join(f"{reward:.3f}" for reward in result["rewards"])
    print(
        f"{name:16}{result['episodes_per_second']:10.3f}{result['cpu_seconds']:8.2f}"
        + "".join(f"{result[phase]:10.1f}" for phase in PHASES)
        + f"{result['memory']:9.0f}{result['kl'][-1]:9.3f}  {curve}",
        flush=True,
    )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("workspace/models/SmolLM2-135M-Instruct"))
    parser.add_argument("--episodes", type=int, default=64, help="answers to learn from, 16 a rollout; at least 32")
    parser.add_argument("--learning-rate", type=float, default=1e-4, help="of both sides, at the start")
    parser.add_argument("--only", default="", help="contestants whose name contains this, e.g. bf16 or galen")
    parser.add_argument("--cache", type=Path, default=Path("workspace/cache"), help="where TRL is installed")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(run_one(args.one, args.model, args.episodes, args.learning_rate)))
        return
    head = f"{'':16}{'answers/s':>10}{'CPU s':>8}" + "".join(f"{phase:>10}" for phase in PHASES)
    print(f"{head}{'peak MB':>9}{'last KL':>9}  mean reward by rollout")
    results = {name: measure(name, args) for name in (OURS, *PEERS) if args.only in name}
    peers = {name: result for name, result in results.items() if name != OURS}
    if OURS not in results or not peers:
        return
    best = max(peers, key=lambda name: peers[name]["episodes_per_second"])
    ours, peer = results[OURS], peers[best]
    print(
        f"\nratio to TRL's fastest ({best}): {ours['episodes_per_second'] / peer['episodes_per_second']:.2f}× by the "
        f"clock, {peer['cpu_seconds'] / ours['cpu_seconds']:.2f}× by CPU seconds, memory "
        f"{ours['memory'] / peer['memory']:.2f}×, reward of the last three rollouts "
        f"{mean(ours['rewards'][-3:]):.3f} against {mean(peer['rewards'][-3:]):.3f}"
    )


if __name__ == "__main__":
    main()
