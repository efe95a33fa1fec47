"""Every event of the page, called with hostile texts in every field: paths out of the workspace, links, markup.

    python -m tests.attack.handlers --count 12

`count` is how many of the texts are tried; each goes into every text, picker and click of every event of a real server.
Found is: a file outside the workspace that was read (its time of access tells), written or shown; a traceback in the
server's log; markup that comes back unescaped; a server that is gone. What Gradio's own addresses serve is tried, too.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from core.jobs import store
from core.rundir import state_of
from core.workspace import Workspace
from tests.attack.protocol import Event, Session
from tests.attack.tools import Tally, command
from tests.conftest import conversations, write_jsonl
from tests.webui_tools import serve

MARKUP = "<img src=x onerror=alert(1)>"
SECRET = "f0und-what-lies-outside"
TEXTS = ("textbox", "dropdown", "json", "html", "state")
NO_CLICK = re.compile(r"_data\[.*\n[\s^~]*\nKeyError|data\[\"index\"\]")  # without what the page's script always sends
OWN_WORDS = re.compile(r"gradio\.exceptions\.Error|is not in the list of choices")  # Gradio's own refusals
CLICKED = (
    "run", "set", "act", "key", "dataset", "row", "name", "value", "step", "model", "stage", "pane", "turn", "vote",
    "ref", "at", "to", "from", "page", "sort", "do", "part", "kind", "talk", "id", "said", "have",
)  # fmt: skip


class Outside:
    """A folder beside the workspace, with what somebody may want to have of it; and links to it from within."""

    def __init__(self, folder: Path, workspace: Workspace) -> None:
        self.folder = folder / "outside"
        self.folder.mkdir()
        write_jsonl(self.folder / "rows.jsonl", [*conversations(8), {"text": SECRET}])
        (self.folder / "model").mkdir()
        (self.folder / "model" / "config.json").write_text(json.dumps({"model_type": "llama", "x": SECRET}))
        (self.folder / "list.txt").write_text(SECRET + "\n")
        (workspace.path / "link").symlink_to(self.folder)
        (workspace.path / "link.jsonl").symlink_to(self.folder / "rows.jsonl")
        (workspace.datasets_dir / "linked").symlink_to(self.folder)
        (workspace.models_dir / "linked").symlink_to(self.folder)
        self.begin()

    def begin(self) -> None:
        """Times of access long before those of change, so that the next reading moves them."""
        now = time.time()
        for path in (*self.folder.rglob("*"), self.folder):
            os.utime(path, (now - 7 * 86400, now))
        self.before = self._marks()

    def _marks(self) -> dict[str, tuple[float, float, int]]:
        found = {}
        for path in (self.folder, *sorted(self.folder.rglob("*"))):
            stat = path.stat()
            found[path.name] = (0.0 if path.is_dir() else stat.st_atime, stat.st_mtime, stat.st_size)
        return found

    def touched(self) -> list[str]:
        now = self._marks()
        return [name for name in {*now, *self.before} if now.get(name) != self.before.get(name)]


def texts(outside: Path, workspace: Path) -> list[str]:
    """What is written into the fields, the worst first."""
    within = workspace / "datasets"
    return [
        str(outside / "rows.jsonl"),
        f"{within}/../../outside/rows.jsonl",
        str(workspace / "link.jsonl"),
        "../outside/rows.jsonl",
        MARKUP,
        str(outside),
        str(workspace / "link"),
        f"{outside}/model",
        "linked",
        "../../outside",
        f"file://{outside}/rows.jsonl",
        "\0",
        "../" * 40 + "etc/passwd",
        "~root/.ssh",
        "-" * 5000,
        "%2e%2e%2foutside",
        "${HOME}",
        "a\nb: [",
        "linked@../../outside",
        "…/" * 9,
    ]


def filled(session: Session, event: Event, text: str) -> list[Any]:
    """The event's inputs, with `text` wherever somebody can type or choose."""
    return [
        {"text": text, "model.base": text}
        if session.kind(one) == "json"
        else text
        if session.kind(one) in TEXTS
        else session.value(one)
        for one in event.inputs
    ]


def unescaped(session: Session, event: Event, data: list[Any]) -> list[str]:
    """The kinds of components that would show the markup as markup."""
    shown = []
    for component, value in zip(event.outputs, data, strict=False):
        said = json.dumps(value, ensure_ascii=False)
        if session.kind(component) in ("html", "markdown") and MARKUP in said:
            shown.append(session.components[component]["props"].get("elem_id") or str(component))
    return shown


def press_everything(
    session: Session, text: str, outside: Outside, log: Path, tally: Tally, *, first: int = 0, every: int = 1
) -> None:
    """Set off every event of the page, or from the `first` on one in `every`."""
    for event in session.events[first::every]:
        before = log.stat().st_size
        clicked = dict.fromkeys(CLICKED, text)
        answer = session.send(event, filled(session, event, text), clicked)
        tally.done["events called"] += 1
        about = f"event {event.number} ({event.name}, {event.triggers}) with {text[:60]!r}"
        touched = outside.touched()
        if touched:
            tally.find(f"{about}: touched outside: {touched}")
            outside.begin()
        if SECRET in answer.text:
            tally.find(f"{about}: shows what lies outside")
        places = unescaped(session, event, answer.data)
        if places:
            tally.find(f"{about}: markup in {places}")
        with open(log, "rb") as file:
            file.seek(before)
            said = file.read().decode(errors="replace")
        if NO_CLICK.search(said):
            tally.done["clicks as no browser sends them"] += 1
        elif "Traceback" in said and not OWN_WORDS.search(said):
            tally.find(f"{about}: {said[-1500:]}")


def fetch(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, ""


def ask_for_files(url: str, outside: Path, workspace: Path, tally: Tally) -> None:
    """Gradio's own addresses for files, and what else might be one."""
    (workspace / "password").write_text(SECRET)
    wanted = [
        outside / "rows.jsonl", workspace / "password", workspace / "link.jsonl", workspace / "link" / "rows.jsonl",
        workspace / "cache" / "exports" / ".." / ".." / "password", Path("/etc/passwd"), workspace / "webui.log",
        Path("run_webui.py").resolve(),
    ]  # fmt: skip
    for path in wanted:
        for form in ("gradio_api/file=", "file=", "gradio_api/proxy=", "gradio_api/stream/", "static/", "assets/"):
            for name in (str(path), urllib.parse.quote(str(path), safe=""), str(path).replace("..", "%2e%2e")):
                status, text = fetch(url + form + name)
                tally.done["addresses asked for"] += 1
                if status == 200 and (SECRET in text or "root:" in text or "def main" in text):
                    tally.find(f"{form}{name} is served")
    for query in (
        f"?dataset={outside}",
        "?run=../../outside",
        f"?run={MARKUP}&tab={MARKUP}&part={MARKUP}&dataset={MARKUP}",
    ):
        status, text = fetch(url + urllib.parse.quote(query, safe="?=&/"))
        if status != 200 or MARKUP in text or SECRET in text:
            tally.find(f"{query}: {status}")


def upload_names(url: str, workspace: Path, tally: Tally) -> None:
    """Uploads whose names lead out of the folder for them."""
    for name in (
        "../../../outside/up.jsonl",
        "/etc/up.jsonl",
        "..",
        "a/../../up.jsonl",
        "link/up.jsonl",
        "up\\..\\x.jsonl",
    ):
        boundary = "galenattack"
        body = (
            f"--{boundary}\r\nContent-Disposition: form-data; name=\"files\"; filename=\"{name}\"\r\n"
            f"Content-Type: text/plain\r\n\r\nup\r\n--{boundary}--\r\n"
        ).encode()  # fmt: skip
        request = urllib.request.Request(
            url + "gradio_api/upload", body, {"content-type": f"multipart/form-data; boundary={boundary}"}
        )
        tally.done["uploads by bad names"] += 1
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                places = [Path(place).resolve() for place in json.loads(answer.read())]
        except urllib.error.HTTPError:
            continue
        if not all(place.is_relative_to(workspace / "cache" / "uploads") for place in places):
            tally.find(f"an upload called {name!r} lies in {places}")


def attack(count: int, seed: int, *, every: int = 1) -> Tally:
    """`count` of the texts, each in one event of `every`, so that texts beside each other get different ones."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workspace = Workspace(folder / "workspace")
        outside = Outside(folder, workspace)
        with serve(workspace, HF_HUB_OFFLINE="1") as url:
            session, log = Session(url), workspace.path / "webui.log"
            for at, text in enumerate(texts(outside.folder, workspace.path)[seed : seed + count]):
                press_everything(session, text, outside, log, tally, first=at * every // count, every=every)
            ask_for_files(url, outside.folder, workspace.path, tally)
            upload_names(url, workspace.path, tally)
            if outside.touched():
                tally.find(f"touched outside by address: {outside.touched()}")
        for run in workspace.runs():
            if state_of(run).live:
                store.kill(run)
    return tally


def main() -> int:
    return command(attack, count=20, doc=__doc__)


if __name__ == "__main__":
    sys.exit(main())
