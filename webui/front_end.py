"""Gradio's front end with its two slow searches replaced, for a page with many components. An ASGI middleware.

For every input of every event, and for everything that an event writes, Gradio 6 walks through the tree of components
until it finds the one; and for every component it goes through the targets of all events, twice, before the page is
there. With the 1 400 components and 1 250 targets of this page that is half of the time until it can be used, and some
milliseconds a key. The two functions are replaced in the file as it is served, by what `front_end.js` declares; the
package on disk stays as it is. Where Gradio's file reads otherwise (another version), it is served unchanged: the page
is slower then, and nothing else.
"""

from __future__ import annotations

import re
from pathlib import Path

import gradio
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

ASSETS = Path(gradio.__file__).parent / "templates" / "frontend" / "assets"
HELPERS = Path(__file__).with_name("front_end.js")
NODE = re.compile(
    r"function (?P<name>\w+)\((?P<node>\w+),(?P<id>\w+)\)\{if\((?P=node)\.id===(?P=id)\)return (?P=node);"
    r"if\((?P=node)\.children\)for\(let (?P<child>\w+) of (?P=node)\.children\)\{let (?P=node)=(?P=name)\((?P=child),"
    r"(?P=id)\);if\((?P=node)\)return (?P=node)\}return null\}"
)
ATTACHED = re.compile(
    r"find_attached_events\((?P<node>\w+),(?P<events>\w+)\)\{let (?P<found>\w+)=(?P=events)\.filter\((\w+)=>\4\.targets"
    r"\.find\(\(\[\4\]\)=>\4===(?P=node)\.id\)\)\.map\(.{,120}?\)\.filter\(Boolean\);"
)


def quick(script: str) -> str | None:
    """`script` with both searches replaced; None where it does not read as expected."""
    script, nodes = NODE.subn(r"function \g<name>(\g<node>,\g<id>){return galenNode(\g<node>,\g<id>)}", script)
    script, lists = ATTACHED.subn(
        r"find_attached_events(\g<node>,\g<events>){let \g<found>=galenAttached(\g<events>,\g<node>.id);", script
    )
    return HELPERS.read_text(encoding="utf-8") + script if nodes == lists == 1 else None


def quick_files() -> dict[str, bytes]:
    """The files that are served changed, by their address."""
    made = {f"/assets/{file.name}": quick(file.read_text(encoding="utf-8")) for file in ASSETS.glob("core-*.js")}
    return {address: script.encode() for address, script in made.items() if script is not None}


class QuickFrontEnd:
    """ASGI middleware that answers for the changed files; everything else passes."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.files = quick_files()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        script = self.files.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "GET" else None
        if script is None:
            await self.app(scope, receive, send)
            return
        # Asked for anew with every page: the next release of this project may change it under the same name.
        answer = Response(script, media_type="text/javascript", headers={"cache-control": "no-cache"})
        await answer(scope, receive, send)
