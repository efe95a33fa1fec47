"""What the tests of models and serving share: adapters of the tiny model, runs that hold them, a local hub."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from core.models.hashes import backbone_id, weight_hashes
from core.records import Manifest, RootBase
from core.rundir import RunDir, write_record, write_text
from core.workspace import Workspace


def make_adapter(base: Path, folder: Path, seed: int = 1) -> Path:
    """A LoRA adapter that clearly changes the base's answers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(r=4, lora_alpha=16, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(folder)
    return folder


def make_run(workspace: Workspace, base: Path, *, seed: int = 1, name: str = "", steps: tuple[int, ...] = ()) -> RunDir:
    """A finished run whose output is an adapter of `base`, with checkpoints of other adapters at `steps`."""
    run = RunDir.create(workspace.runs_dir, "sft")
    config = {"model": {"base": str(base)}, "run": {"name": name or run.id}}
    write_text(run.config_json, json.dumps(config))
    make_adapter(base, run.output / "adapter", seed)
    root = weight_hashes(base)
    manifest = Manifest(
        run=run.id, name=name or run.id, stage="sft", kind="adapter", backbone_id=backbone_id(root), method="lora",
        root_base=RootBase(source=str(base), path=str(base), weights=root), adapter_root="adapter", dtype="fp32",
    )  # fmt: skip
    for step in steps:
        folder = make_adapter(base, run.checkpoints / f"step-{step}", seed + step)
        write_text(folder / "COMPLETE", json.dumps({"step": step, "saved_at": 0.0, "eval_loss": 1.0 / step}))
    write_record(run.manifest_file, manifest)
    return run


def make_whole_run(workspace: Workspace, base: Path, *, name: str, steps: tuple[int, ...] = ()) -> RunDir:
    """A finished run of full tuning: its output and its checkpoints are model folders (here copies of `base`)."""
    run = RunDir.create(workspace.runs_dir, "sft")
    write_text(run.config_json, json.dumps({"model": {"base": str(base)}, "run": {"name": name}}))
    shutil.copytree(base, run.output / "model")
    for step in steps:
        folder = Path(shutil.copytree(base, run.checkpoints / f"step-{step}"))
        write_text(folder / "COMPLETE", json.dumps({"step": step, "saved_at": 0.0, "eval_loss": 1.0 / step}))
    manifest = Manifest(
        run=run.id, name=name, stage="sft", kind="model", backbone_id="x", method="full", dtype="fp32",
        root_base=RootBase(source=str(base), path=str(base)), model_folder="model",
    )  # fmt: skip
    write_record(run.manifest_file, manifest)
    return run


class Hub:
    """The few requests of a hub that a download makes. `stall`: send that many bytes of a file, then nothing.

    `kind`: the repository own/tiny is a "model" or a "dataset".
    """

    def __init__(self, files: dict[str, bytes], kind: str = "model") -> None:
        self.files = files
        self.api = f"/api/{kind}s/own/tiny"
        self.place = "/own/tiny/resolve/" if kind == "model" else "/datasets/own/tiny/resolve/"
        self.stall: dict[str, int] = {}
        self.stalled = threading.Event()
        self.closing = threading.Event()
        self.ranges: list[str] = []
        self.tokens: set[str | None] = set()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                return

            def do_HEAD(self) -> None:
                self._answer(body=False)

            def do_GET(self) -> None:
                self._answer(body=True)

            def _answer(self, body: bool) -> None:
                hub.tokens.add(self.headers.get("Authorization"))
                path = self.path.split("?")[0]
                if path.startswith(hub.api):
                    return self._send(json.dumps(hub.info()).encode(), body)
                name = unquote(path.rpartition("/resolve/")[2].partition("/")[2])
                if not path.startswith(hub.place) or name not in hub.files:
                    self.send_response(404)
                    self.send_header("X-Error-Code", "EntryNotFound" if "own/tiny" in path else "RepoNotFound")
                    self.send_header("Content-Length", "0")
                    return self.end_headers()
                self._send(hub.files[name], body, name)

            def _send(self, data: bytes, body: bool, name: str = "") -> None:
                total, start = len(data), 0
                asked = self.headers.get("Range")
                if asked and body:
                    hub.ranges.append(asked)
                    start = int(asked.removeprefix("bytes=").split("-")[0])
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(total - start))
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
                self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
                self.send_header("X-Repo-Commit", "c" * 40)
                self.send_header("Accept-Ranges", "bytes")
                self.end_headers()
                if body:
                    end = hub.stall.pop(name, total)
                    self.wfile.write(data[start:end])
                    if end < total:
                        hub.stalled.set()
                        hub.closing.wait()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def total(self) -> int:
        return sum(map(len, self.files.values()))

    def info(self) -> dict:
        siblings = [{"rfilename": name, "size": len(data)} for name, data in self.files.items()]
        return {"id": "own/tiny", "sha": "c" * 40, "siblings": siblings, "cardData": {"license": "mit"}, "tags": []}


@contextmanager
def local_hub(folder: Path, kind: str = "model") -> Iterator[Hub]:
    """A hub that serves the files below `folder` as the model, or the dataset, own/tiny."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    hub = Hub({path.relative_to(folder).as_posix(): path.read_bytes() for path in files}, kind)
    with served(hub):
        yield hub


class Served(Protocol):
    """A hub of the tests. closing: set at the end, for answers that wait."""

    server: ThreadingHTTPServer
    closing: threading.Event


@contextmanager
def served(hub: Served) -> Iterator[None]:
    threading.Thread(target=hub.server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        hub.closing.set()
        hub.server.shutdown()
        hub.server.server_close()
