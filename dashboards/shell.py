"""Around every request: bounds, headers, figures; and the files of the web client."""

import asyncio
import contextlib
from pathlib import Path

from fastapi import Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboards.api.errors import BodyTooLarge, of_error
from dashboards.metrics import Metrics
from dashboards.origins import security_policy
from traffic.clock import monotonic_s
from traffic.settings import Settings

BODY_BYTES_MAX = 64 * 1024
UPLOAD_BYTES_MAX = 256 * 1024 * 1024  # of a registry file, which its address takes piece by piece
UPLOADS = "/api/registry/import/"
BODY_S = 15.0  # between two pieces of a body
DRAIN_BYTES_MAX = 1024 * 1024  # of a body that is refused
DRAIN_S = 2.0
DIST = Path(__file__).resolve().parent / "web" / "dist"
_NOT_BUILT = """<!doctype html><html lang="zh"><meta charset="utf-8"><title>交通指挥系统</title>
<h1>网页客户端尚未构建</h1><p>请在项目目录运行 <code>make setup</code>，然后刷新本页。</p>
<h1>The web client is not built</h1>
<p>Run <code>make setup</code> in the project's folder, then load this page again.</p>
</html>
"""


class Bounds:
    """Refuses bodies over BODY_BYTES_MAX (files over UPLOAD_BYTES_MAX), whether they say their length or not."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a counted body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        bytes_max = UPLOAD_BYTES_MAX if scope["path"].startswith(UPLOADS) else BODY_BYTES_MAX
        if not length.isdigit() or int(length[:20]) > bytes_max:
            await self._refuse(scope, receive, send, bytes_max)
            return
        counted, whole = 0, False

        async def receive_counted() -> Message:
            nonlocal counted, whole
            async with asyncio.timeout(None if whole else BODY_S):
                message = await receive()
            counted += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if counted > bytes_max:
                raise BodyTooLarge(f"the body is larger than {bytes_max} bytes")
            return message

        async def send_unless_over(message: Message) -> None:
            if counted <= bytes_max:  # else what the application makes of the broken body is of no interest
                await send(message)

        try:
            await self._app(scope, receive_counted, send_unless_over)
        except BodyTooLarge:
            pass
        if counted > bytes_max:
            await self._refuse(scope, receive, send, bytes_max)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, bytes_max: int) -> None:
        """Read a little on, so that the sender is not cut off before it reads the answer; then close."""
        left, more = DRAIN_BYTES_MAX, True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while more and left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    more = message.get("more_body", False)
        response = of_error(BodyTooLarge(f"the body is larger than {bytes_max} bytes"))
        response.headers["Connection"] = "close"
        await response(scope, receive, send)


class Headers:
    """Adds what browsers must know of every answer, and counts it."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and dress its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = monotonic_s()
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")

        async def send_dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = security_policy(host, self._settings)
                headers["X-Content-Type-Options"] = "nosniff"
                headers["X-Frame-Options"] = "DENY"
                headers["Referrer-Policy"] = "no-referrer"
                headers["Cross-Origin-Opener-Policy"] = "same-origin"
                headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=()"
                headers.setdefault("Cache-Control", "no-store")
                route = getattr(scope.get("route"), "path", "none")
                self._metrics.request(route, message["status"], monotonic_s() - began_s)
            await send(message)

        await self._app(scope, receive, send_dressed)


async def web_client(request: Request) -> Response:
    """A file of the built web client; any other address is a page of it, which its index opens."""
    path = request.path_params.get("path", "")
    if path.startswith("api/"):
        raise HTTPException(404)
    index = DIST / "index.html"
    if not index.is_file():
        return HTMLResponse(_NOT_BUILT, 503 if not path else 404)
    try:
        file = (DIST / path).resolve()
        found = file.is_relative_to(DIST) and file.is_file()
    except (OSError, ValueError):  # names that no file can have
        found = False
    if found and path:
        hashed = path.startswith("assets/")
        return FileResponse(
            file, headers={"Cache-Control": "public, max-age=31536000, immutable" if hashed else "no-cache"}
        )
    if "." in path.rpartition("/")[2]:
        raise HTTPException(404)
    return FileResponse(index, headers={"Cache-Control": "no-cache"})
