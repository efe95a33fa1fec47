"""Gradio's front end as it is served: with its searches replaced where it reads as expected, untouched elsewhere."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from webui.front_end import ASSETS, HELPERS, QuickFrontEnd, quick, quick_files

SEARCHES = """
const find = (node, id) => {
  if (node.id === id) return node;
  for (const child of node.children ?? []) { const found = find(child, id); if (found) return found; }
  return null;
};
const attached = (events, id) => events.filter((event) => event.targets.find(([target]) => target === id))
  .map((event) => event.targets.find(([target]) => target === id)[1]).filter(Boolean);
"""


def test_the_pinned_release_reads_as_expected() -> None:
    files = quick_files()
    assert len(files) == 1
    script = next(iter(files.values())).decode()
    assert script.count("galenNode(") == script.count("galenAttached(") == 2  # declared, and called once


def test_a_file_that_reads_otherwise_is_left_alone() -> None:
    script = next(ASSETS.glob("core-*.js")).read_text(encoding="utf-8")
    assert quick(script) is not None
    assert quick(script.replace("find_attached_events(", "find_events(")) is None
    assert quick(script.replace("return null}", "return undefined}")) is None
    assert quick("") is None


def test_only_the_changed_file_is_answered_for() -> None:
    routes = [Route("/{path:path}", lambda request: PlainTextResponse("Gradio's own"), methods=["GET", "POST"])]
    client = TestClient(Starlette(routes=routes, middleware=[Middleware(QuickFrontEnd)]))
    (address, script), *_ = quick_files().items()
    answer = client.get(address)
    assert (answer.content, answer.headers["content-type"]) == (script, "text/javascript; charset=utf-8")
    assert client.get("/assets/index.js").text == client.post(address).text == "Gradio's own"


@pytest.mark.browser
def test_what_is_looked_up_is_what_a_search_finds(browser) -> None:
    page = browser.new_page()
    apart = page.evaluate(f"""() => {{
      {HELPERS.read_text(encoding="utf-8")} {SEARCHES}
      const grow = (id, depth) => ({{id, children: depth ? [1, 2, 3].map((at) => grow(3 * id + at, depth - 1)) : []}});
      const root = grow(0, 4), apart = [];
      const events = Array.from({{length: 40}}, (_, at) =>
        ({{targets: [[at, 'change'], [2 * at, at % 3 ? 'input' : ''], [at, 'select'], [null, 'then']].slice(at % 2)}}));
      for (let id = -1; id < 200; id++) {{
        if (galenNode(root, id) !== find(root, id)) apart.push(['node', id]);
        const looked = galenAttached(events, id).join(), searched = attached(events, id).join();
        if (looked !== searched) apart.push(['events', id]);
      }}
      return apart;
    }}""")
    page.close()
    assert apart == []
