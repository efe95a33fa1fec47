"""The page and the chat server on an address that others can reach, without a password or key: refused, and fast.

    python -m tests.attack.binds --count 14

`count` is how many ways of writing an address are tried. Each is given to both commands as a user gives it; they must
end with status 2 and a sentence that names the remedy, before anything listens.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.attack.tools import Tally, command
from tests.webui_tools import ROOT, free_port

SECONDS = 60.0
ADDRESSES = (
    "0.0.0.0", "::", "", "::ffff:0.0.0.0", "0", "[::]", socket.gethostname(), "127.0.0.1.example.org", "localhost.lan",
    "127.1", "0x7f000001", "10.0.0.1", "*", "0.0.0.0 # 127.0.0.1",
)  # fmt: skip


def tried(words: list[str], folder: Path) -> tuple[int | None, str]:
    """(exit status, what it said); None where it went on, as something that listens does."""
    hidden = ("GALEN_PASSWORD", "GALEN_API_KEY")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    try:
        done = subprocess.run(
            [sys.executable, *words], cwd=ROOT, env={**environment, "GALEN_WORKSPACE": str(folder)}, text=True,
            capture_output=True, timeout=SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None, "it goes on"
    return done.returncode, done.stderr


def attack(count: int, seed: int) -> Tally:
    tally = Tally()
    with tempfile.TemporaryDirectory() as name:
        for address in ADDRESSES[seed : seed + count]:
            port = str(free_port())
            for words, remedy in (
                (["run_webui.py", "--host", address, "--port", port], "GALEN_PASSWORD"),
                (["-m", "core", "serve", "base_model=starter", f"host={address}", f"port={port}"], "GALEN_API_KEY"),
            ):
                status, said = tried(words, Path(name))
                tally.done[f"{words[0]} {words[1]}"] += 1
                if status != 2 or remedy not in said or "Traceback" in said:
                    tally.find(f"{' '.join(words)}: status {status}, {said[-400:]}")
    return tally


def main() -> int:
    return command(attack, count=len(ADDRESSES), doc=__doc__)


if __name__ == "__main__":
    sys.exit(main())
