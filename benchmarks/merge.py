"""Merging an adapter into a sharded base, this project beside PEFT's merge_and_unload: time, and memory above all.

    python -m benchmarks.merge                                    # six shards of 400 MB: five minutes on two cores
    python -m benchmarks.merge --width 5120 --inner 13824 --layers 8 --shard-size 4GB --only galen     # as wide as 13B

A random Llama is written shard by shard in bf16, and a random LoRA of rank 16 on all its linear layers. Each contestant
merges in a process of its own:

    galen            the stage `merge` with model.verify=weights: every number that was written is read back, too
    galen-answers    the same, and what the model answers to the probes, which takes the whole model, where it has room
    peft-bf16        from_pretrained, merge_and_unload and save_pretrained in bf16, as its users do
    peft-fp32        the same in fp32, cast to bf16 at the end

Printed for each: seconds from the first to the last byte (imports are left out, for galen the hashes and the proof are
in), the peak resident memory of the process, what of it the imports alone took, and how many of the merged numbers
differ from those of peft-fp32. Pages of files that a process has mapped into memory count as resident, though the
system may take them away: `of its own` is the peak without them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.jobs.supervisor import CPU_ENVIRONMENT

RANK, ALPHA, VOCABULARY = 16, 32, 32_000
BLOCK = 1 << 22  # random numbers that are drawn at once
EXACT = "peft-fp32"
CONTESTANTS = ("galen", "galen-answers", "peft-bf16", EXACT)
ROOM = 1_000_000_000  # bytes beside the largest shard that a merge may take


# -- what is merged ---------------------------------------------------------------------------------------------------
def build(folder: Path, layers: int, width: int, inner: int, shard_size: str) -> None:
    """A Llama of random weights in `folder`/base and a LoRA for it in `folder`/adapter, neither ever in memory."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

    from core.configs.models import Merged
    from core.models.rewriting import file_name, write_index
    from core.models.tensors import Spec, write_file
    from core.rundir import write_json

    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=width // 128, num_key_value_heads=width // 128, tie_word_embeddings=False,
        bos_token_id=None, eos_token_id=1, pad_token_id=0, dtype="bfloat16", architectures=["LlamaForCausalLM"],
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    base, adapter = folder / "base", folder / "adapter"
    base.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)

    def drawn(spec: Spec, scale: float) -> Any:
        for start in range(0, spec.rows, step := max(1, BLOCK // max(1, spec.width))):
            rows = min(step, spec.rows - start)
            yield (torch.randn(rows, *spec.shape[1:], generator=generator) * scale).to(spec.dtype)

    specs = {name: Spec(torch.bfloat16, tuple(tensor.shape)) for name, tensor in model.state_dict().items()}
    files = _split(specs, Merged(base="-", shard_size=shard_size).shard_bytes)
    where = {}
    for number, names in enumerate(files, start=1):
        name = file_name(number, len(files))
        write_file(base / name, {each: specs[each] for each in names}, (drawn(specs[each], 0.02) for each in names))
        where.update(dict.fromkeys(names, name))
    write_index(base, where, sum(spec.nbytes for spec in specs.values()))
    config.save_pretrained(base)
    core = Tokenizer(models.BPE({letter: n for n, letter in enumerate(pre_tokenizers.ByteLevel.alphabet())}, []))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>", pad_token="<pad>").save_pretrained(base)

    adapter.mkdir()
    factors: dict[str, Spec] = {}
    for name, spec in specs.items():
        if name.endswith("proj.weight"):
            module = f"base_model.model.{name.removesuffix('.weight')}"
            factors[f"{module}.lora_A.weight"] = Spec(torch.float32, (RANK, spec.shape[1]))
            factors[f"{module}.lora_B.weight"] = Spec(torch.float32, (spec.shape[0], RANK))
    write_file(adapter / "adapter_model.safetensors", factors, (drawn(spec, 0.02) for spec in factors.values()))
    targets = sorted({name.split(".")[-3] for name in factors})
    write_json(adapter / "adapter_config.json", {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": ALPHA, "target_modules": targets,
        "base_model_name_or_path": str(base), "lora_dropout": 0.0, "bias": "none", "inference_mode": True,
    })  # fmt: skip


def _split(specs: dict[str, Any], size: int) -> list[list[str]]:
    files: list[list[str]] = [[]]
    held = 0
    for name, spec in specs.items():
        if files[-1] and held + spec.nbytes > size:
            files.append([])
            held = 0
        files[-1].append(name)
        held += spec.nbytes
    return files


# -- the contestants --------------------------------------------------------------------------------------------------
def merge_ours(folder: Path, target: Path, shard_size: str, verify: str) -> Callable[[], None]:
    """The recipe on a run that has made the adapter, as the worker calls it."""
    from core.configs.files import resolve
    from core.models.hashes import backbone_id, weight_hashes
    from core.recipes import merge
    from core.records import Manifest, RootBase
    from core.report import Report, RunContext
    from core.rundir import RunDir, write_record, write_text
    from core.workspace import Workspace

    workspace = Workspace(target)
    trained = RunDir.create(workspace.runs_dir, "sft")
    shutil.copytree(folder / "adapter", trained.output / "adapter")
    write_text(trained.config_json, json.dumps({"model": {"base": str(folder / "base")}}))

    def work() -> None:
        root = weight_hashes(folder / "base", workspace)
        manifest = Manifest(
            run=trained.id, name="", stage="sft", kind="adapter", backbone_id=backbone_id(root), method="lora",
            root_base=RootBase(source="base", path=str(folder / "base"), weights=root), adapter_root="adapter",
            dtype="bf16",
        )  # fmt: skip
        write_record(trained.manifest_file, manifest)
        words = [f"model.base={trained.id}", f"model.verify={verify}", f"model.shard_size={shard_size}"]
        config = resolve("merge", overrides=[*words, "devices.use=[cpu]"])
        run = RunDir.create(workspace.runs_dir, "merge")
        merge.main(RunContext(run, workspace, config, Report(run)))
        (run.output / "model").rename(target / "merged")

    return work


def merge_peft(folder: Path, target: Path, shard_size: str, kind: str) -> Callable[[], None]:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    def work() -> None:
        dtype = torch.float32 if kind == "fp32" else torch.bfloat16
        model: Any = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=dtype)
        model = PeftModel.from_pretrained(model, folder / "adapter").merge_and_unload()
        model.to(torch.bfloat16).save_pretrained(target / "merged", max_shard_size=shard_size)

    return work


def run_one(name: str, folder: Path, target: Path, shard_size: str) -> dict[str, float]:
    who, _, kind = name.partition("-")
    if who == "galen":
        work = merge_ours(folder, target, shard_size, "auto" if kind else "weights")
    else:
        work = merge_peft(folder, target, shard_size, kind)
    baseline, watch = memory()["VmRSS"], Watch()
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "baseline": baseline, "peak": memory()["VmHWM"], "own": watch.stop()}


class Watch:
    """The largest memory of this process's own, without pages of files, looked at every few milliseconds."""

    def __init__(self) -> None:
        self._most, self._over = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.005):
            self._most = max(self._most, memory()["RssAnon"])

    def stop(self) -> float:
        self._over.set()
        self._thread.join()
        return self._most


def memory() -> dict[str, float]:
    """MB by /proc's names: VmRSS now, VmHWM at the most so far, RssAnon without pages of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    pairs = (line.split(":") for line in lines if line.startswith(("Vm", "Rss")))
    return {name: int(value.split()[0]) * 1024 / 1e6 for name, value in pairs}


# -- the comparison ---------------------------------------------------------------------------------------------------
def differing(one: Path, other: Path) -> float:
    """Share of all numbers that are not the same in two folders."""
    from core.models.tensors import TensorFile
    from core.models.weights import weight_files

    theirs = {name: file for file in map(TensorFile, weight_files(other)) for name in file.names}
    apart = count = 0
    for file in map(TensorFile, weight_files(one)):
        for name in file.names:
            spec = file.spec(name)
            for start in range(0, spec.rows, step := max(1, BLOCK // max(1, spec.width))):
                stop = min(start + step, spec.rows)
                mine, peer = (each.rows(name, start, stop) for each in (file, theirs[name]))
                apart, count = apart + int((mine != peer).sum()), count + mine.numel()
    return apart / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=21)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--inner", type=int, default=5632)
    parser.add_argument("--shard-size", default="400MB")
    parser.add_argument("--only", default="", help="contestants whose name contains this")
    parser.add_argument("--at", type=Path, help="where the files go, if not to the system's place for temporary ones")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        _child(args)
        return
    with tempfile.TemporaryDirectory(dir=args.at) as place:
        compare_all(args, Path(place))


def _child(args: argparse.Namespace) -> None:
    what, *names = args.one.split()
    if what == "build":
        build(args.at, args.layers, args.width, args.inner, args.shard_size)
    elif what == "differing":
        print(json.dumps(differing(*(args.at / name / "merged" for name in names))))
    else:
        print(json.dumps(run_one(what, args.at, args.at / what, args.shard_size)))


def child(args: argparse.Namespace, what: str, place: Path) -> Any:
    """This module in a process of its own, which ends with one line of JSON."""
    command = [sys.executable, "-m", "benchmarks.merge", "--one", what, "--at", str(place)]
    for name in ("layers", "width", "inner", "shard_size"):
        command += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    # Ours gets what the supervisor gives a run on a CPU; PEFT runs as its users run it.
    env = {**os.environ, **(CPU_ENVIRONMENT if what.startswith("galen") and sys.platform == "linux" else {})}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        sys.exit(f"{what} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else None


def compare_all(args: argparse.Namespace, place: Path) -> None:
    child(args, "build", place)
    sizes = [file.stat().st_size for file in (place / "base").glob("*.safetensors")]
    print(f"the base: {len(sizes)} files, {sum(sizes) / 1e6:.0f} MB, the largest {max(sizes) / 1e6:.0f} MB")
    print(f"{'':16}{'seconds':>9}{'peak MB':>9}{'imports':>9}{'of its own':>12}{'differing':>11}")
    results: dict[str, dict[str, float]] = {}
    names = [name for name in CONTESTANTS if args.only in name]
    for name in sorted(names, key=lambda name: name != EXACT):  # the one to compare with comes first
        result = results[name] = child(args, name, place)
        apart = child(args, f"differing {name} {EXACT}", place) if EXACT in results else math.nan
        print(
            f"{name:16}{result['seconds']:9.1f}{result['peak']:9.0f}{result['baseline']:9.0f}{result['own']:12.0f}"
            f"{apart:11.2%}",
            flush=True,
        )
        if name != EXACT:
            shutil.rmtree(place / name)
    peers = [name for name in results if name.startswith("peft")]
    if "galen" not in results:
        return
    ours = results["galen"]
    for name in peers:
        peer = results[name]
        print(
            f"galen to {name}: {ours['peak'] / peer['peak']:.2f}× the memory, {ours['own'] / peer['own']:.2f}× of its "
            f"own, {ours['seconds'] / peer['seconds']:.2f}× the time"
        )
    bound = (max(sizes) + ROOM) / 1e6
    print(f"peak ≤ largest shard + 1 GB ({bound:.0f} MB): {'yes' if ours['peak'] <= bound else 'no'}")


if __name__ == "__main__":
    main()
