"""Data at scale: one large ShareGPT file, checked, imported, looked at and cleaned, beside what the field uses.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.data                     # 2.4 million rows, 1.9 GB: some ten minutes and 12 GB of disk
    python -m benchmarks.data --rows 100000       # a minute
    python -m benchmarks.data --only check look

Each part runs in a process of its own; its peak memory is that of the process and its children together, private and
shared pages alike. Peers: `datasets` and plain orjson reading the same file (reading alone: they check nothing), and
`datasketch`, the MinHash library that most cleaning scripts use, on the same rows as our `near` step.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

ROWS, NEAR_ROWS, PEER_ROWS = 2_400_000, 100_000, 20_000
SAMPLE_SECONDS = 0.1


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return round(time.perf_counter() - start, 3), result


# -- the parts: each gets the folder that holds rows.jsonl and returns figures ---------------------------------------
def check(folder: Path) -> dict[str, Any]:
    from core.data.check.doctor import check_file

    taken, report = seconds(lambda: check_file(folder / "rows.jsonl"))
    return {"seconds": taken, "rows": report.rows, "usable": report.usable, "duplicates": asdict(report.duplicates)}


def orjson_alone(folder: Path) -> dict[str, Any]:
    import orjson

    def read() -> int:
        with open(folder / "rows.jsonl", "rb") as file:
            return sum(1 for line in file if orjson.loads(line))

    taken, rows = seconds(read)
    return {"seconds": taken, "rows": rows}


def datasets_alone(folder: Path) -> dict[str, Any]:
    from datasets import load_dataset

    file, cache = str(folder / "rows.jsonl"), str(folder / "hf")
    taken, rows = seconds(lambda: len(load_dataset("json", data_files=file, split="train", cache_dir=cache)))
    shutil.rmtree(cache)
    return {"seconds": taken, "rows": rows}


def bring_in(folder: Path) -> dict[str, Any]:
    from core.data.store.library import import_file
    from core.workspace import Workspace

    taken, dataset = seconds(lambda: import_file(Workspace(folder), folder / "rows.jsonl", "big", bad_rows="drop"))
    return {"seconds": taken, "rows": len(dataset)}


def look(folder: Path) -> dict[str, Any]:
    from core.data.look.view import Query, View
    from core.data.store.library import open_dataset
    from core.workspace import Workspace

    shutil.rmtree(folder / "cache" / "look", ignore_errors=True)
    view = View(Workspace(folder), open_dataset(Workspace(folder), "big"))
    figures: dict[str, Any] = {}
    figures["first page"], rows = seconds(lambda: first(view, Query()))
    for name, query in (
        ("sort by characters", Query(sort="chars", descending=True)),
        ("sort by answer", Query(sort="answer_chars")),
        ("search 胃溃疡", Query(search="胃溃疡")),
        ("search asthma", Query(search="asthma")),
        ("search for nothing there", Query(search="zebra crossing")),
    ):
        figures[name], rows = seconds(lambda query=query: first(view, query))  # type: ignore[misc]
        pages = max(1, len(rows) // 50)
        chosen = random.Random(0).sample(range(1, pages + 1), min(20, pages))
        figures[f"  slowest of {len(chosen)} pages"] = max(
            seconds(lambda number=number, rows=rows: view.page(rows, number))[0]  # type: ignore[misc]
            for number in chosen
        )
    return figures


def first(view: Any, query: Any) -> Any:
    rows = view.positions(query)
    view.page(rows, 1)
    return rows


def near(folder: Path, rows: int = NEAR_ROWS) -> dict[str, Any]:
    from core.data.recipe.prepare import prepare
    from core.workspace import Workspace

    source = subset(folder, rows)
    taken, made = seconds(lambda: prepare(Workspace(folder), recipe(source)))
    return {"seconds": taken, "rows": rows, "dropped": rows - len(made[0])}


def near_peer_rows(folder: Path) -> dict[str, Any]:
    return near(folder, PEER_ROWS)


def near_all(folder: Path) -> dict[str, Any]:
    from core.data.recipe.prepare import prepare
    from core.workspace import Workspace

    taken, made = seconds(lambda: prepare(Workspace(folder), recipe("big")))
    return {"seconds": taken, "kept": len(made[0])}


def recipe(source: str) -> Any:
    """Near-duplicates of `source`. Every process has a seed of its own: what was made before would only be found."""
    from core.configs.data import Recipe

    return Recipe.model_validate({"inputs": [source], "steps": [{"do": "near"}], "output": "near", "seed": os.getpid()})


def datasketch_near(folder: Path) -> dict[str, Any]:
    """The usual script: 128 permutations of character 5-grams, LSH at 0.8, the first of each cluster kept."""
    from datasketch import MinHash, MinHashLSH

    def clean() -> int:
        index, dropped = MinHashLSH(threshold=0.8, num_perm=128), 0
        with open(folder / "rows.jsonl", encoding="utf-8") as file:
            for number, line in zip(range(PEER_ROWS), file, strict=False):
                text = "\n".join(turn["value"] for turn in json.loads(line)["conversations"])
                sketch = MinHash(num_perm=128)
                sketch.update_batch([text[at : at + 5].encode() for at in range(max(1, len(text) - 4))])
                if index.query(sketch):
                    dropped += 1
                else:
                    index.insert(number, sketch)
        return dropped

    taken, dropped = seconds(clean)
    return {"seconds": taken, "rows": PEER_ROWS, "dropped": dropped}


def subset(folder: Path, rows: int) -> str:
    """The first `rows` of the file as a dataset; its name."""
    from core.data.store.library import import_file
    from core.workspace import Workspace

    part = folder / f"first-{rows}.jsonl"
    with open(folder / "rows.jsonl", "rb") as file, open(part, "wb") as target:
        target.writelines(line for _, line in zip(range(rows), file, strict=False))
    return import_file(Workspace(folder), part, f"first-{rows}", bad_rows="drop").ref


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    part.__name__: part
    for part in (check, orjson_alone, datasets_alone, bring_in, look, near, near_peer_rows, datasketch_near, near_all)
}


# -- measuring --------------------------------------------------------------------------------------------------------
def measure(part: str, folder: Path) -> dict[str, Any]:
    """Run one part in a child and watch the memory of its tree."""
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.data", "--part", part, "--folder", str(folder)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    tree, peak = psutil.Process(child.pid), 0
    while child.poll() is None:
        peak = max(peak, resident(tree))
        time.sleep(SAMPLE_SECONDS)
    output = child.stdout.read() if child.stdout else ""
    if child.returncode:
        raise SystemExit(f"{part} failed")
    return {**json.loads(output.splitlines()[-1]), "peak_mb": round(peak / 1e6)}


def resident(process: psutil.Process) -> int:
    """Proportional set size of a process tree, in bytes: a page that several map is counted once."""
    total = 0
    try:
        for each in [process, *process.children(recursive=True)]:
            try:
                total += each.memory_full_info().pss
            except psutil.NoSuchProcess:
                continue
    except psutil.NoSuchProcess:
        return total
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        print(json.dumps(PARTS[args.part](args.folder)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        file = folder / "rows.jsonl"
        if not file.exists():
            subprocess.run(
                [sys.executable, "-m", "benchmarks.data_file", str(file), "--rows", str(args.rows)], check=True
            )
        found = {}
        for part in args.only:
            found[part] = measure(part, folder)
            print(part, json.dumps(found[part], ensure_ascii=False), flush=True)
    compare(found)


def compare(found: dict[str, dict[str, Any]]) -> None:
    for ours, peer, what in (
        ("check", "datasets_alone", "checking, beside `datasets` reading alone"),
        ("check", "orjson_alone", "checking, beside orjson reading alone"),
        ("near_peer_rows", "datasketch_near", "near-duplicates, beside datasketch"),
    ):
        if ours in found and peer in found:
            print(f"{what}: {found[peer]['seconds'] / found[ours]['seconds']:.1f} times as fast")


if __name__ == "__main__":
    main()
