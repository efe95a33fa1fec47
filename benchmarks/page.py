"""How fast the page answers on a full workspace: 200 runs, one of them with 100 000 metric rows.

    python -m benchmarks.page
    python -m benchmarks.page --peer "llamafactory-cli webui" --peer-port 7860

Printed: seconds from the command to the first answered request, with the resident memory of the process tree then;
seconds of a tick of the frame, of a run panel's first look and of its idle look, of each view of the Runs tab with six
runs beside each other, of the catalog and of the list of runs. With `--peer`, a command that serves a page of another
project on this machine is started the same way and the ratio is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil

RUNS, METRIC_ROWS = 200, 100_000
PATIENCE = 180.0  # seconds


def fill(folder: Path) -> str:
    """A workspace in `folder`; returns the id of the run with many rows."""
    from core.report import Report
    from core.rundir import RunDir
    from core.workspace import Workspace

    workspace = Workspace(folder)
    for number in range(RUNS):
        run = RunDir.create(workspace.runs_dir, "sft")
        run.config_json.write_text(json.dumps({"run": {"name": f"run {number}"}, "data": {"train": "chat"}}))
        Report(run).phase("training", total=9)
    with open(run.metrics_file, "w") as file:
        file.writelines(f'{{"step": {step}, "epoch": 1.0, "time": 1.0, "loss": 2.5}}\n' for step in range(METRIC_ROWS))
    return run.id


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def answers(folder: Path, run_id: str) -> dict[str, float]:
    """Seconds of what a browser asks for while it shows the page."""
    from core.jobs.summaries import summaries
    from core.workspace import Workspace
    from webui.app import App
    from webui.runs_board import Asked

    workspace = Workspace(folder)
    app = App(workspace, "en")
    app.build()
    values = [None] * sum(len(listener.inputs) for listener in app.page.listeners)
    panel = app.stages["sft"].panel
    found = {
        "first tick of the frame": seconds(lambda: app.pulse("en", None, *values)),
        "tick of the frame": seconds(lambda: app.pulse("en", None, *values)),
        "first look at the long run": seconds(lambda: panel.refresh(run_id, "en", None)),
        "look at the long run": seconds(lambda: panel.refresh(run_id, "en", None)),
    }
    memo = panel.refresh(run_id, "en", None)[0]
    found["idle look at the long run"] = seconds(lambda: panel.refresh(run_id, "en", memo))
    others = [run.id for run in workspace.runs()[:5]]
    for view in ("run", "curves", "settings", "lineage", "disk"):
        wished = Asked(view=view, ticked=(run_id, *others)).clicked({"smoothing": 0.6, "axis": "time"}).text()
        for which in ("first look", "look"):
            look = partial(app.runs.show, "en", "", "all", run_id, wished)
            found[f"{which} at the Runs tab, {view}"] = seconds(look)
    found["catalog"] = seconds(lambda: app.reader.read(fresh=True))
    found["list of runs"] = seconds(lambda: summaries(workspace))
    return found


def first_answer(command: list[str], port: int) -> tuple[float, float]:
    """(seconds to the first answered request, resident megabytes of the process tree then) of a page's command."""
    start = time.perf_counter()
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        while not _answers(port):
            if server.poll() is not None or time.perf_counter() - start > PATIENCE:
                raise SystemExit(f"{shlex.join(command)} served nothing on port {port}")
            time.sleep(0.02)
        taken = time.perf_counter() - start
        process = psutil.Process(server.pid)
        tree = [process, *process.children(recursive=True)]
        return taken, sum(each.memory_info().rss for each in tree) / 1e6
    finally:
        os.killpg(server.pid, 15)
        server.wait()


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30).close()
    except (urllib.error.URLError, OSError):
        return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="a command that serves another project's page")
    parser.add_argument("--peer-port", type=int, default=7860)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run_id = fill(Path(folder))
        port = free_port()
        ours = [sys.executable, "run_webui.py", "--workspace", folder, "--port", str(port)]
        first_answer(ours, port)  # warms the disk cache
        taken, memory = first_answer(ours, port)
        print(f"{'first answered request':<28} {taken:7.2f} s   {memory:.0f} MB resident")
        for what, value in answers(Path(folder), run_id).items():
            print(f"{what:<36} {value:7.3f} s")
    if args.peer:
        command = shlex.split(args.peer)
        first_answer(command, args.peer_port)
        theirs, their_memory = first_answer(command, args.peer_port)
        print(f"{'peer, first answered request':<28} {theirs:7.2f} s   {their_memory:.0f} MB resident")
        print(f"ratio: {theirs / taken:.1f} times as fast, {memory / their_memory:.2f} of the memory")


if __name__ == "__main__":
    main()
