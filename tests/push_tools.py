"""What the tests of sending share: a hub on this machine that takes uploads, and runs that have something to say."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from core.configs.stages import PushConfig
from core.data.store.library import import_file, open_dataset
from core.models.hashes import weight_hashes
from core.models.library import describe, write_card
from core.recipes import push
from core.records import DataUsed
from core.report import Report, RunContext
from core.rundir import RunDir, write_record, write_text
from core.workspace import Workspace
from tests.conftest import write_jsonl
from tests.models_tools import make_run, served

COMMIT = "c" * 40
TOKEN = "hf_secret"


class Inbox:
    """The requests of a hub that an upload makes. safetensors go as large files (LFS), all else inside the commit.

    `refuse`: path prefix → (status, answer), instead of what would be done. `silent`: takes large files, never answers.
    """

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, Any]] = {}  # id → private, branches: name → files
        self.objects: dict[str, bytes] = {}
        self.commits: list[str] = []
        self.tokens: set[str | None] = set()
        self.refuse: dict[str, tuple[int, dict[str, Any]]] = {}
        self.silent = False
        self.waiting, self.closing = threading.Event(), threading.Event()
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                return

            def do_GET(self) -> None:
                self._answer(b"")

            def do_POST(self) -> None:
                self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

            def do_PUT(self) -> None:
                if inbox.silent:
                    inbox.waiting.set()
                    inbox.closing.wait()
                chunked = self.headers.get("Transfer-Encoding") == "chunked"
                data = self._chunks() if chunked else self.rfile.read(int(self.headers["Content-Length"]))
                inbox.objects[hashlib.sha256(data).hexdigest()] = data
                self._send(200, {})

            def _chunks(self) -> bytes:
                data = b""
                while size := int(self.rfile.readline(), 16):
                    data += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return data

            def _answer(self, body: bytes) -> None:
                inbox.tokens.add(self.headers.get("Authorization"))
                path = self.path.split("?")[0]
                told = next((inbox.refuse[prefix] for prefix in inbox.refuse if path.startswith(prefix)), None)
                self._send(*(told or inbox.take(path, body)))

            def _send(self, status: int, answer: dict[str, Any]) -> None:
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def add(self, repo: str, *, private: bool = True, **files: bytes) -> None:
        self.repos[repo] = {"private": private, "branches": {"main": dict(files)}}

    def files(self, repo: str, branch: str = "main") -> dict[str, bytes]:
        found: dict[str, bytes] = self.repos[repo]["branches"][branch]
        return found

    def take(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """(status, answer) of a request."""
        parts = path.strip("/").split("/")
        if path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked['organization']}/{asked['name']}"
            if repo in self.repos:
                return 409, {"url": f"{self.url}/{repo}"}
            self.add(repo, private=asked["visibility"] == "private")
            return 200, {"url": f"{self.url}/{repo}"}
        if path == "/api/validate-yaml":
            return 200, {}
        if path.endswith("/info/lfs/objects/batch"):
            return 200, {"objects": [self._instruction(each) for each in json.loads(body)["objects"]]}
        repo, action = "/".join(parts[2:4]), parts[4] if len(parts) > 4 else ""
        if repo not in self.repos:
            return 404, {"error": "Repository not found"}
        branches = self.repos[repo]["branches"]
        if action == "branch":
            branches.setdefault(parts[5], dict(branches["main"]))
            return 200, {}
        if action == "preupload":
            modes = {True: "lfs", False: "regular"}
            asked_files = [each["path"] for each in json.loads(body)["files"]]
            told = [
                {"path": name, "uploadMode": modes[name.endswith(".safetensors")], "shouldIgnore": False}
                for name in asked_files
            ]
            return 200, {"files": told}
        if action == "commit":
            return 200, self._commit(repo, branches[parts[5]], body)
        siblings = [{"rfilename": name} for name in branches[parts[5] if action == "revision" else "main"]]
        return 200, {
            "id": repo,
            "sha": COMMIT,
            "private": self.repos[repo]["private"],
            "siblings": siblings,
            "tags": [],
        }

    def _instruction(self, each: dict[str, Any]) -> dict[str, Any]:
        known = each["oid"] in self.objects
        return {**each, **({} if known else {"actions": {"upload": {"href": f"{self.url}/objects/{each['oid']}"}}})}

    def _commit(self, repo: str, files: dict[str, bytes], body: bytes) -> dict[str, Any]:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                self.commits.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                assert line["key"] == "lfsFile", "nothing else may be asked for"
                files[value["path"]] = self.objects[value["oid"]]
        return {"success": True, "commitOid": COMMIT, "commitUrl": f"{self.url}/{repo}/commit/{COMMIT}"}


@contextmanager
def inbox() -> Iterator[Inbox]:
    hub = Inbox()
    with served(hub):
        yield hub


def fetched(workspace: Workspace, folder: Path) -> None:
    """The model in `folder`, as if it had been fetched from the hub as own/tiny."""
    card = describe(
        folder, "tiny", "hub", "own/tiny", weights=weight_hashes(folder), licence="mit", revision="a" * 40,
        origin="own/tiny", points_to=str(folder),
    )  # fmt: skip
    (workspace.models_dir / "tiny").mkdir()
    write_card(workspace.models_dir / "tiny", card)


def trained(workspace: Workspace, base: Path, **changes: Any) -> RunDir:
    """A finished SFT run with an adapter, which has learnt from a dataset of the hub."""
    rows = [{"instruction": f"胃疼怎么办 {at}", "output": "注意休息，多喝水"} for at in range(4)]
    dataset = import_file(workspace, write_jsonl(workspace.path / "asked.jsonl", rows))
    facts = {"origin": f"huggingface: own/asked@{COMMIT}", "licence": "cc-by-4.0"}
    write_record(dataset.folder / "card.json", dataset.card.model_copy(update=facts))
    run = make_run(workspace, base, name="tuned | one")
    manifest = run.manifest()
    assert manifest is not None
    used = DataUsed(dataset=open_dataset(workspace, "asked").ref, sha256="0", rows_used=3, rows_dropped=1)
    figures = {"step": 12.0, "eval_loss": 1.23456}
    told = {"data": [used], "final_metrics": figures, "packages": {"peft": "0.21"}, **changes}
    write_record(run.manifest_file, manifest.model_copy(update=told))
    config = {**run.config(), "lora": {"rank": 4}}
    write_text(run.config_json, json.dumps(config))
    return run


def send(workspace: Workspace, base: str, repo: str = "own/tuned", card: str = "", **to: Any) -> RunDir:
    """A push run in this process."""
    config = PushConfig.model_validate({"model": {"base": base, "card": card}, "to": {"repo": repo, **to}})
    run = RunDir.create(workspace.runs_dir, "push")
    write_text(run.config_json, config.model_dump_json())
    push.main(RunContext(run, workspace, config, Report(run)))
    return run
