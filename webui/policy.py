"""What keeps the page to this machine: response headers, and the names by which it may be called. ASGI middlewares.

The headers let the browser itself refuse anything from elsewhere. The host check stops the opposite way in: a foreign
site whose name is made to point to 127.0.0.1 (DNS rebinding) could otherwise use a page that has no password.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
REFUSED = """Galen answers here only to localhost, 127.0.0.1 and [::1], because it has no password.
Open it by one of these names, or start it with a password (GALEN_PASSWORD) to use another.

没有设置密码时，Galen 只响应 localhost、127.0.0.1 和 [::1]。
请用其中之一打开；如需使用其他名称，请设置密码（GALEN_PASSWORD）后重新启动。
"""


class SecurityHeaders:
    """ASGI middleware that adds a content security policy to every response. Streams pass through unbuffered."""

    def __init__(self, app: ASGIApp, policy: str) -> None:
        self.app = app
        self.policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["content-security-policy"] = self.policy
                headers["x-content-type-options"] = "nosniff"
                headers["referrer-policy"] = "same-origin"
            await send(message)

        await self.app(scope, receive, with_headers)


class LocalNamesOnly:
    """ASGI middleware that answers 403 to requests for, or from a page of, any host but `names`, whatever the port."""

    def __init__(self, app: ASGIApp, names: Collection[str] = LOCAL_NAMES) -> None:
        self.app = app
        self.names = frozenset(name.lower() for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            asked = [f"//{headers.get('host', '')}", *([origin] if origin is not None else [])]
            if not all(self._local(address) for address in asked):
                await PlainTextResponse(REFUSED, 403)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _local(self, address: str) -> bool:
        try:
            return (urlsplit(address).hostname or "") in self.names
        except ValueError:
            return False
