"""Secrets searched for in everything that is written: marked keys in the environment, then every part that uses them.

    python -m tests.attack.leaks --count 7

`count` is how many of the parts are done: annotating with an endpoint, with one that refuses and repeats the key, the
page behind a password, a push, SFT, PPO with a judge, a chat server. Everything they write lies in one folder (the
workspace, locks, temporary files, caches, all that they print) and is searched for each secret, as it is and in base64.
Each secret must also have been used: otherwise nothing was tested.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from core.models.tiny import build_model
from core.workspace import Workspace
from tests.annotate_tools import chats
from tests.attack.tools import Tally, command
from tests.conftest import conversations, write_jsonl
from tests.endpoint_tools import Endpoint
from tests.ppo_tools import prompt_file
from tests.push_tools import Inbox, fetched, trained
from tests.webui_tools import ROOT, free_port, start

SECRETS = {
    name: f"hf_{name.lower().replace('_', '')}9c41e7"
    for name in ("HF_TOKEN", "GALEN_ANNOTATE_KEY", "GALEN_JUDGE_KEY", "GALEN_API_KEY", "GALEN_PASSWORD")
}
SMALL = ("model.dtype=fp32", "devices.use=cpu", "evaluation.prompts=[]")


class World:
    """A folder that takes all that is written, an endpoint and a hub."""

    def __init__(self, folder: Path, tally: Tally) -> None:
        self.folder, self.tally = folder, tally
        self.workspace = Workspace(folder / "workspace")
        self.endpoint, self.hub = Endpoint(), Inbox()
        for served in (self.endpoint.server, self.hub.server):
            threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True).start()
        for name in ("tmp", "hf", "locks"):
            (folder / name).mkdir()
        self.environment = {
            **os.environ, **SECRETS, "TMPDIR": str(folder / "tmp"), "HF_HOME": str(folder / "hf"),
            "GALEN_LOCK_DIR": str(folder / "locks"), "HF_ENDPOINT": self.hub.url, "HF_HUB_DISABLE_XET": "1",
            "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        self.printed = folder / "printed.log"
        self.model = folder / "tiny"
        build_model(self.model)

    def core(self, *words: str, status: int = 0) -> None:
        """The command as a user gives it; a run goes through its supervisor."""
        with open(self.printed, "ab") as log:
            line = [sys.executable, "-m", "core", words[0], "--workspace", str(self.workspace.path), *words[1:]]
            done = subprocess.run(line, cwd=ROOT, env=self.environment, stdout=log, stderr=log, timeout=300)
        if done.returncode != status:
            said = self.printed.read_text(errors="replace")[-1500:]
            self.tally.find(f"{words[0]} ended with {done.returncode} instead of {status}: {said}")

    # -- the parts ----------------------------------------------------------------------------------------------------
    def annotates(self) -> None:
        self._annotate(status=0)

    def is_refused(self) -> None:
        """The endpoint says no, and its answer repeats what it was sent."""
        key = SECRETS["GALEN_ANNOTATE_KEY"]
        said = f'{{"error": {{"message": "Incorrect API key provided: {key}"}}}}'.encode()
        self.endpoint.behaves = lambda prompt, times: (401, {"X-Echo": f"Bearer {key}"}, said)
        self._annotate("task.kind=difficulty", status=1)
        self.endpoint.behaves = lambda prompt, times: "7"

    def _annotate(self, *words: str, status: int) -> None:
        rows = write_jsonl(self.folder / "chats.jsonl", chats(4))
        url = f"annotator.url={self.endpoint.url}"
        self.core("annotate", f"data.rows={rows}", url, "annotator.model=m", "devices.use=cpu", *words, status=status)

    def opens_the_page(self) -> None:
        port = free_port()
        environment = {name: value for name, value in self.environment.items() if name not in os.environ}
        server = start(self.workspace, port, **{**environment, **SECRETS})
        try:
            for password in ("wrong", SECRETS["GALEN_PASSWORD"]):
                body = f"username=galen&password={password}".encode()
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/login", body, timeout=30).close()
                    used = password
                except urllib.error.HTTPError:
                    used = ""
            if used != SECRETS["GALEN_PASSWORD"]:
                self.tally.find("the password does not open the page")
        finally:
            server.terminate()
            server.wait(30)

    def pushes(self) -> None:
        fetched(self.workspace, self.model)
        run = trained(self.workspace, self.model)
        self.core("model", "push", run.id, "own/tuned")

    def trains(self) -> None:
        rows = write_jsonl(self.folder / "rows.jsonl", conversations(24))
        self.core("sft", f"model.base={self.model}", f"data.train={rows}", "schedule.max_steps=2", *SMALL)

    def plays(self) -> None:
        self.core(
            "ppo", f"model.base={self.model}", f"data.train={prompt_file(self.folder)}", "rollout.prompts=4",
            "rollout.max_new_tokens=8", "ppo.episodes=4", "data.max_length=64", "evaluation.prompts=2",
            f"rewards.judge_url={self.endpoint.url}", "rewards.judge_model=m", "model.dtype=fp32", "devices.use=cpu",
        )  # fmt: skip

    def serves(self) -> None:
        port = free_port()
        with open(self.printed, "ab") as log:
            words = ["-m", "core", "serve", "--workspace", str(self.workspace.path), f"base_model={self.model}"]
            server = subprocess.Popen(
                [sys.executable, *words, f"port={port}"], cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )
        answers = [self._asked(port, key) for key in (SECRETS["GALEN_API_KEY"], "wrong")]
        if answers != [200, 401]:
            self.tally.find(f"the chat server answers {answers} to its key and to a wrong one")
        server.terminate()
        server.wait(60)

    def _asked(self, port: int, key: str) -> int:
        """The status of a request with this key, once the server answers at all."""
        deadline = time.monotonic() + 120
        while True:
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/v1/models", headers={"Authorization": f"Bearer {key}"}
            )
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                return error.code
            except OSError:
                if time.monotonic() > deadline:
                    return 0
                time.sleep(0.3)


def search(folder: Path, tally: Tally) -> None:
    """Each secret, in the names and in the bytes of every file."""
    for path in folder.rglob("*"):
        data = str(path).encode() + (path.read_bytes() if path.is_file() and not path.is_symlink() else b"")
        tally.done["files searched"] += path.is_file()
        for name, secret in SECRETS.items():
            if secret.encode() in data or base64.b64encode(secret.encode())[:-4] in data:
                tally.find(f"{name} stands in {path.relative_to(folder)}")


def attack(count: int, seed: int) -> Tally:
    tally = Tally()
    with tempfile.TemporaryDirectory() as name, ExitStack() as closing:
        world = World(Path(name), tally)
        closing.callback(world.endpoint.server.shutdown)
        closing.callback(world.hub.server.shutdown)
        parts: list[Callable[[], None]] = [
            world.annotates, world.is_refused, world.opens_the_page, world.pushes, world.trains, world.plays,
            world.serves,
        ]  # fmt: skip
        for part in parts[:count]:
            part()
            tally.done[f"part done: {part.__name__}"] += 1
        used = {"GALEN_ANNOTATE_KEY": world.annotates, "GALEN_JUDGE_KEY": world.plays, "HF_TOKEN": world.pushes}
        for name, part in used.items():
            if part in parts[:count] and f"Bearer {SECRETS[name]}" not in world.endpoint.keys | world.hub.tokens:
                tally.find(f"{name} was never sent: nothing was tested")
        search(world.folder, tally)
    return tally


def main() -> int:
    return command(attack, count=7, doc=__doc__)


if __name__ == "__main__":
    sys.exit(main())
