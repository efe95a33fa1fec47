"""What the browser tests share: a real Chromium, pages of a real server, and what a person does on most of them.

The fixtures are known everywhere through conftest. Wait for conditions, never for times: the machines may be busy.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.jobs import store
from core.models.library import describe, write_card
from core.rundir import RunDir, state_of
from core.serving.session import stop_server
from core.workspace import Workspace
from tests.webui_tools import serve

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 90_000  # milliseconds; the machines that run this may be busy


def find_browser() -> str | None:
    named = os.environ.get("GALEN_BROWSER")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator:
    path = find_browser()
    if path is None:
        reason = f"no browser: none of {', '.join(NAMES)} is on the PATH, and GALEN_BROWSER names none"
        if os.environ.get("GALEN_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def ready(workspace: Workspace, tiny_model: Path) -> Iterator[Workspace]:
    """A workspace with the tiny model; its runs and chat servers are ended afterwards."""
    (workspace.models_dir / "tiny").mkdir()
    card = describe(tiny_model, "tiny", "folder", str(tiny_model), weights=[], points_to=str(tiny_model))
    write_card(workspace.models_dir / "tiny", card)
    yield workspace
    for run in workspace.runs():
        if state_of(run).live:
            store.kill(run)
    stop_server(workspace)


class Page:
    """One tab, and the errors and outside requests that it had."""

    def __init__(self, browser, url: str, locale: str = "en-US") -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, locale=locale)
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(PATIENCE)
        self.url = url
        self.errors: list[str] = []
        self.outside: list[str] = []
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on("request", self._request)
        self.open()

    def _request(self, request) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.outside.append(request.url)

    def open(self, query: str = "") -> None:
        self.tab.goto(self.url + query)
        self.wait("() => window.galen && galen.ready")

    def reload(self) -> None:
        self.tab.reload()
        self.wait("() => window.galen && galen.ready")

    def go(self, tab: str) -> None:
        self.tab.click(f"#tab-{tab}-button")

    def fill(self, key: str, text: str) -> None:
        field = self.tab.locator(f".f-{key.replace('.', '-')} :is(input, textarea) >> visible=true").first
        field.fill(text)

    def text(self, selector: str) -> str:
        return self.tab.inner_text(selector)

    def wait(self, script: str, *words: object) -> None:
        self.tab.wait_for_function(script, arg=list(words) or None, timeout=PATIENCE)

    def wait_text(self, selector: str, text: str) -> None:
        self.tab.locator(selector).filter(has_text=text).first.wait_for(state="visible", timeout=PATIENCE)


@pytest.fixture
def opened(browser, ready: Workspace) -> Iterator[Callable[..., Page]]:
    pages: list[Page] = []
    with serve(ready) as url:

        def make(query: str = "", locale: str = "en-US") -> Page:
            pages.append(Page(browser, url, locale))
            if query:
                pages[-1].open(query)
            return pages[-1]

        yield make
        for page in pages:
            page.context.close()
    for page in pages:
        assert page.errors == []
        assert page.outside == []


def upload(page: Page, *files: Path) -> None:
    """Send files to the Data tab and wait until the first one's report is there."""
    page.go("data")
    page.tab.set_input_files("#upload input[type=file]", [str(file) for file in files])
    page.tab.wait_for_selector("#data-report .check")


def only_run(workspace: Workspace) -> RunDir:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        runs = workspace.runs()
        if runs:
            return runs[0]
        time.sleep(0.1)
    raise AssertionError("no run appeared")
