"""Four panes at once: base and three adapters, answered in one batch, beside one pane, and beside PEFT.

    python -m benchmarks.serving [--tokens 64] [--rounds 3] [--dtype fp32] [--peft]

Prints seconds for 64 tokens of: the base alone, one adapter alone, four panes (base and three adapters), four panes of
four adapters, and, with --peft, the same four rows through `generate` with PEFT's `adapter_names`; then the ratios. The
targets: four panes within 1.25 of one adapter pane and 1.8 of base alone. The rounds are interleaved, and the best of
each counts: a machine has other work at times.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from core.models.library import STARTER, resolve_base
from core.models.lineage import adapter_weights, base_weights
from core.models.loading import TORCH_DTYPES
from core.serving.answer import Answer
from core.serving.engine import Engine
from core.serving.registry import Registry
from core.serving.sampling import Sampling
from core.workspace import Workspace

QUESTION = [{"role": "user", "content": "What are the early signs of diabetes, and when should I see a doctor?"}]
NAMES = ("one", "two", "three", "four")


def adapter(base: Path, folder: Path, seed: int) -> Path:
    """A random LoRA of rank 8 on all linear layers, as a finished run has one."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(folder)
    return folder


def seconds(registry: Registry, names: list[str], tokens: int) -> float:
    """For `tokens` tokens in each of these panes, from asking to the last one."""
    engine, ended = Engine(), threading.Barrier(len(names) + 1)
    answers = []
    for name in names:
        served = registry[name]
        prompt = served.encoder.prompt_ids(QUESTION)
        sampling = Sampling(temperature=0.7, top_p=0.9, max_tokens=tokens, seed=1)
        one = Answer(served, prompt, sampling, lambda _: None, lambda *_: threading.Thread(target=ended.wait).start())
        object.__setattr__(one.served, "stop_ids", frozenset())  # all answers are equally long
        answers.append(one)
    began = time.perf_counter()
    for one in answers:
        engine.submit(one)
    ended.wait()
    took = time.perf_counter() - began
    engine.close()
    return took


def peft_mixed(base: Path, folders: list[Path], dtype: torch.dtype, tokens: int) -> Callable[[], float]:
    """The same four rows through PEFT's mixed batch: base and three adapters by `adapter_names`."""
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=dtype), folders[0], NAMES[0])
    for name, folder in zip(NAMES[1:3], folders[1:3], strict=True):
        model.load_adapter(folder, name)
    model.eval()
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(base).apply_chat_template(
        QUESTION, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )["input_ids"]
    rows: Any = ids.repeat(4, 1)

    def run() -> float:
        began = time.perf_counter()
        model.generate(
            input_ids=rows, attention_mask=torch.ones_like(rows), adapter_names=["__base__", *NAMES[:3]],
            max_new_tokens=tokens, min_new_tokens=tokens, do_sample=True, temperature=0.7, top_p=0.9, top_k=0,
        )  # fmt: skip
        return time.perf_counter() - began

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", default=None)
    parser.add_argument("--base", default=STARTER)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", choices=list(TORCH_DTYPES), default="fp32")
    parser.add_argument("--peft", action="store_true", help="also PEFT's mixed batch")
    args = parser.parse_args()
    workspace, dtype = Workspace(args.workspace), TORCH_DTYPES[args.dtype]
    base = resolve_base(workspace, args.base)
    with tempfile.TemporaryDirectory() as place:
        folders = [adapter(base, Path(place) / name, seed) for seed, name in enumerate(NAMES)]
        registry = Registry(base_weights(workspace, str(base)), dtype=dtype, device="cpu")
        for name, folder in zip(NAMES, folders, strict=True):
            registry.add(adapter_weights(workspace, folder, base), alias=name)
        cases: dict[str, Callable[[], float]] = {
            "base alone": lambda: seconds(registry, ["base"], args.tokens),
            "one adapter": lambda: seconds(registry, ["one"], args.tokens),
            "four panes, base and three adapters": lambda: seconds(registry, ["base", *NAMES[:3]], args.tokens),
            "four panes, four adapters": lambda: seconds(registry, list(NAMES), args.tokens),
        }
        if args.peft:
            cases["PEFT's mixed batch, base and three adapters"] = peft_mixed(base, folders, dtype, args.tokens)
        for case in cases.values():  # once for nothing: kernels are chosen, memory is taken
            case()
        best = dict.fromkeys(cases, float("inf"))
        for _ in range(args.rounds):
            for name, case in cases.items():
                best[name] = min(best[name], case())
    for name, took in best.items():
        print(f"{name:48s} {took:6.2f} s  {took / best['base alone']:5.2f} of base, "
              f"{took / best['one adapter']:5.2f} of one adapter")  # fmt: skip


if __name__ == "__main__":
    main()
