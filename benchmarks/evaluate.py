"""Multiple choice, this project beside lm-eval: the same model, questions and examples in one run.

    pip install -r benchmarks/requirements.txt
    python -m core model starter
    python -m benchmarks.evaluate                  # 200 questions, five examples, by letters: 12 minutes on two cores
    python -m benchmarks.evaluate --by texts       # a choice itself is to follow
    python -m benchmarks.evaluate --dtype fp32     # likelihoods agree to 1e-4

The questions are those that ship, half of them Chinese; the first five of each language stand before the others as
examples. lm-eval asks them by the tasks of `tests/lm_eval_tasks`, with its Transformers model, in a process of its own
for each batch size. Measured is what lies between a loaded model and the log-likelihoods of all choices, tokenising
included: of ours the seconds of an exam, which also hold figures and files; of lm-eval its `loglikelihood` alone.
Printed are these seconds, the peak resident memory, on how many questions the two choose alike and how far their
log-likelihoods are apart. The last line is the ratio to lm-eval's fastest.
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

from benchmarks.sft import OURS, peak_memory
from core.jobs.supervisor import CPU_ENVIRONMENT

ROOT = Path(__file__).resolve().parents[1]
LANGUAGES, SHOTS, LETTERS = ("en", "zh"), 5, "ABCD"
BATCHES = ("1", "8", "16")  # "auto" takes a CPU a quarter of an hour to find its size


def write_questions(folder: Path, count: int) -> None:
    """Half of `count` questions of each language, and the examples before them."""
    for language in LANGUAGES:
        lines = (ROOT / "data" / "evaluate" / f"{language}.jsonl").read_text("utf-8").splitlines()
        rows = [json.loads(line) for line in lines[: SHOTS + count // len(LANGUAGES)]]
        kept = [
            {key: row[key] for key in ("question", *LETTERS, "answer")} | {"chinese": language == "zh"} for row in rows
        ]
        for name, part in (("dev", kept[:SHOTS]), ("test", kept[SHOTS:])):
            path = folder / language / f"{name}.jsonl"
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in part), encoding="utf-8")


# -- the two sides ----------------------------------------------------------------------------------------------------
def ours(model: Path, folder: Path, by: str, dtype: str) -> dict[str, Any]:
    import torch

    from core.configs.files import resolve
    from core.data.store.library import import_file
    from core.recipes import evaluate
    from core.records_evaluation import Evaluation, evaluation_file, items_file
    from core.report import Report, RunContext
    from core.rundir import RunDir, read_jsonl, read_record
    from core.workspace import Workspace

    workspace = Workspace(folder / "workspace")
    seconds, scores = 0.0, []
    for language in LANGUAGES:
        refs = {name: import_file(workspace, folder / language / f"{name}.jsonl").ref for name in ("dev", "test")}
        words = [
            f"models.runs=[{model}]",
            f"models.dtype={dtype}",
            f"data.rows=[{refs['test']}]",
            f"data.shots={SHOTS}",
        ]
        config = resolve("evaluate", overrides=[*words, f"data.dev={refs['dev']}", f"data.choice_by={by}"])
        run = RunDir.create(workspace.runs_dir, "evaluate")
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
        evaluate.main(RunContext(run, workspace, config, Report(run), device=device))
        found = read_record(evaluation_file(run.output), Evaluation)
        assert found is not None
        seconds += found.cells[0].seconds
        scores += [[row["figures"][letter] for letter in LETTERS] for row in read_jsonl(items_file(run.output))[0]]
    return {"seconds": seconds, "scores": scores, "memory": peak_memory()}


def theirs(model: Path, folder: Path, by: str, dtype: str, batch: str) -> dict[str, Any]:
    import torch
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    class Timed(HFLM):
        seconds = 0.0

        def loglikelihood(self, *args: Any, **kwargs: Any) -> Any:
            began = time.monotonic()
            found = super().loglikelihood(*args, **kwargs)
            self.seconds += time.monotonic() - began
            return found

    language_model = Timed(
        pretrained=str(model),
        dtype={"bf16": "bfloat16", "fp32": "float32"}[dtype],
        device="cuda:0" if torch.cuda.is_available() else "cpu",
        batch_size=batch if batch == "auto" else int(batch),
    )
    manager = TaskManager(include_path=str(ROOT / "tests" / "lm_eval_tasks"), include_defaults=False)
    scores = []
    for language in LANGUAGES:
        os.chdir(folder / language)  # the task names its files by themselves
        task = f"galen_{by}"
        found = simple_evaluate(
            model=language_model, tasks=[task], num_fewshot=SHOTS, task_manager=manager, log_samples=True,
            bootstrap_iters=0,
        )  # fmt: skip
        samples = sorted(found["samples"][task], key=lambda sample: sample["doc_id"])
        scores += [[float(answer[0][0]) for answer in sample["resps"]] for sample in samples]
    return {"seconds": language_model.seconds, "scores": scores, "memory": peak_memory()}


# -- measuring --------------------------------------------------------------------------------------------------------
def run_one(name: str, model: Path, folder: Path, by: str, dtype: str) -> dict[str, Any]:
    """In a process of its own."""
    command = [sys.executable, "-m", "benchmarks.evaluate", "--one", name, "--model", str(model.resolve())]
    command += ["--folder", str(folder), "--by", by, "--dtype", dtype]
    # Ours gets what the supervisor gives a run on a CPU; lm-eval runs as its users run it.
    env = {**os.environ, "HF_DATASETS_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    env |= CPU_ENVIRONMENT if name == OURS and sys.platform == "linux" else {}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compared(scores: list[list[float]], own: list[list[float]]) -> tuple[int, float]:
    """(questions on which both choose alike, the largest difference of two log-likelihoods)."""
    alike = sum(a.index(max(a)) == b.index(max(b)) for a, b in zip(scores, own, strict=True))
    gaps = [abs(x - y) for a, b in zip(scores, own, strict=True) for x, y in zip(a, b, strict=True)]
    return alike, max(gaps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("workspace/models/SmolLM2-135M-Instruct"))
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--by", choices=("letters", "texts"), default="letters")
    parser.add_argument("--dtype", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--batches", nargs="+", default=list(BATCHES), help="lm-eval's batch sizes")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one == OURS:
        print(json.dumps(ours(args.model, args.folder, args.by, args.dtype)))
        return
    if args.one:
        print(json.dumps(theirs(args.model, args.folder, args.by, args.dtype, args.one.removeprefix("lm-eval-"))))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_questions(folder, args.questions)
        print(f"{'':18}{'seconds':>9}{'questions/s':>13}{'peak MB':>9}{'alike':>9}{'apart':>10}")
        found = {}
        for name in (OURS, *(f"lm-eval-{batch}" for batch in args.batches)):
            result = found[name] = run_one(name, args.model, folder, args.by, args.dtype)
            alike, apart = compared(result["scores"], found[OURS]["scores"])
            count = len(result["scores"])
            rate = count / result["seconds"]
            line = f"{name:18}{result['seconds']:9.1f}{rate:13.2f}{result['memory']:9.0f}"
            print(line + ("" if name == OURS else f"{alike:5}/{count}{apart:10.2g}"), flush=True)
    peers = {name: result for name, result in found.items() if name != OURS}
    best = min(peers, key=lambda name: peers[name]["seconds"])
    print(f"\nratio to lm-eval's fastest ({best}): {peers[best]['seconds'] / found[OURS]['seconds']:.2f}×")


if __name__ == "__main__":
    main()
