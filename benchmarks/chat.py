"""How soon an answer stands in the page: from the server's first token to the moment when the browser shows it.

    python -m benchmarks.chat --workspace DIR                    a workspace with a model; its runs are asked, too
    python -m benchmarks.chat --workspace DIR --times 10 --panes 2 4

A real page in a real Chromium (Debian's, or GALEN_BROWSER) asks 1, 2 and 4 panes; every change of theirs is looked at,
and when a text is first there is noted. The server says with each answer how long after the request its first token was
there; the request's own time is the page's, just before it was sent. So what is printed counts the way of the request,
too, and is a little more than what it stands for. Model and browser share this machine's cores.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

QUESTION = "What should somebody with a high fever drink?"
TOKENS = 24
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 300_000  # milliseconds
WATCH = """() => { window.seen = {};
  const look = () => { for (const cell of document.querySelectorAll('#chat-now .reply-cell')) {
    const reply = cell.querySelector('.reply:not(:has(.loading))');
    if (reply?.textContent && !(cell.dataset.pane in seen)) seen[cell.dataset.pane] = Date.now() / 1000; } };
  new MutationObserver(look).observe(document.querySelector('#chat-now'),
    { childList: true, subtree: true, characterData: true }); }"""


def contestants(workspace: Path) -> list[str]:
    """The newest model of the workspace, and its runs that have an adapter or a model, newest first."""
    from core.workspace import Workspace
    from webui.catalog import Reader
    from webui.contestants import Contestants

    known = Workspace(workspace)
    groups = Contestants(known, Reader(known)).groups("en")
    models, runs = ([value for _, value in choices] for _, choices in groups)
    if not models:
        raise SystemExit(f"{workspace} has no model: python -m core --workspace {workspace} model starter")
    return [models[0], *runs]


@contextmanager
def page(workspace: Path) -> Iterator[str]:
    """The address of a page of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "run_webui.py", "--workspace", str(workspace), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}/"
        while not _answers(url):
            if server.poll() is not None:
                raise SystemExit("the page did not start")
            time.sleep(0.1)
        yield url
    finally:
        server.terminate()
        server.wait()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=30).close()
    except (urllib.error.URLError, OSError):
        return False
    return True


def ask(tab: Any, url: str, models: list[str], seed: int) -> list[float]:
    """Seconds from the server's first token to the page's, of each pane."""
    panes = [{"id": name, "model": model} for name, model in zip("abcd", models, strict=False)]
    talk = {"id": f"benchmark-{seed}-{len(models)}-{time.time()}", "panes": panes}
    form = {"seed": str(seed), "max_new_tokens": str(TOKENS)}
    tab.evaluate("([talk, form]) => { galen.keep('chat', talk); galen.keep('chat.form', form); }", [talk, form])
    tab.goto(f"{url}?tab=chat")
    tab.wait_for_function("() => window.galen && galen.ready")
    tab.wait_for_function("(n) => document.querySelectorAll('.contestant').length === n", arg=len(models))
    tab.evaluate(WATCH)
    tab.fill("#chat-question textarea", QUESTION)
    tab.click("#chat-send")
    tab.wait_for_selector(".reply.live", timeout=PATIENCE)
    tab.wait_for_function("() => !document.querySelector('.reply.live')", timeout=PATIENCE)
    tab.wait_for_function(
        "(id) => galen.kept('chat', {}).id === id && galen.kept('chat', {}).turns.length", arg=talk["id"]
    )
    (turn,) = json.loads(tab.evaluate("() => JSON.stringify(galen.kept('chat', {}))"))["turns"]
    seen = tab.evaluate("() => seen")
    for reply in turn["replies"].values():
        if reply["error"]:
            raise SystemExit(reply["error"])
    return [seen[pane] - reply["asked"] - reply["made"]["first"] for pane, reply in turn["replies"].items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--panes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--times", type=int, default=5)
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright

    browser_path = os.environ.get("GALEN_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    known = contestants(args.workspace)
    print(f"asked: {', '.join(known[:4])}")
    with page(args.workspace) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        tab = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        tab.set_default_timeout(PATIENCE)
        tab.goto(f"{url}?tab=chat")
        tab.wait_for_function("() => window.galen && galen.ready")
        for count in args.panes:
            models = [known[at % len(known)] for at in range(count)]
            ask(tab, url, models, 0)  # loads what is to be asked
            found = [each for seed in range(1, args.times + 1) for each in ask(tab, url, models, seed)]
            print(
                f"{count} pane(s): first token in the page after {statistics.median(found):.3f} s (median), "
                f"{max(found):.3f} s (worst of {len(found)})"
            )
        browser.close()


if __name__ == "__main__":
    main()
