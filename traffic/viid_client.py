"""Speaking GA/T 1400 to another platform: within bounds of time and bytes, and to the address it was given alone.

A receiver may be slow, broken or hostile: every exchange has a bound on its whole time and on the answer's bytes, and
a redirection is an error, because it would lead elsewhere than the address that was allowed.
"""

import asyncio
from dataclasses import dataclass

import httpx

from traffic.errors import TrafficError
from traffic.ingest.gat1400 import CONTENT_TYPE
from traffic.ingest.viid_subscriptions import worst_status

EXCHANGE_S = 20.0
CONNECT_S = 5.0
ANSWER_BYTES_MAX = 256 * 1024
_BUSY_STATUSES = (401, 403, 404, 408, 425, 429)  # may be otherwise the next time
_REFUSED_CODES = ("4", "7", "8")  # operation, format or content: it would be refused again


class ExchangeFailed(TrafficError):
    """The other side did not take it. `refused`: for good. `status`: of HTTP, 0 where there was no answer."""

    def __init__(self, message: str, *, status: int = 0, refused: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.refused = refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What we show at another platform."""

    user: str
    password: str


def new_client() -> httpx.AsyncClient:
    """A client for all platforms: no proxy of the surroundings, no redirections."""
    return httpx.AsyncClient(
        timeout=httpx.Timeout(EXCHANGE_S, connect=CONNECT_S), follow_redirects=False, trust_env=False,
        limits=httpx.Limits(max_connections=64, max_keepalive_connections=32),
    )  # fmt: skip


class Partner:
    """Another platform. `address`: its door, "" where it only receives; `own_id`: how it knows us."""

    def __init__(
        self, client: httpx.AsyncClient, own_id: str, *, address: str = "", credentials: Credentials | None = None
    ) -> None:
        self._client = client
        self._own_id = own_id
        self.address = address
        self.credentials = credentials
        self.registered = False

    async def register(self) -> None:
        """Register with Digest; raises ExchangeFailed."""
        if self.credentials is None or not self.address:
            raise ExchangeFailed("it wants a registration, and none is agreed with it", status=401)
        auth = httpx.DigestAuth(self.credentials.user, self.credentials.password)
        body = b'{"RegisterObject":{"DeviceID":"%s"}}' % self._own_id.encode()
        await self._exchange("POST", f"{self.address}/VIID/System/Register", body, auth=auth)
        self.registered = True

    async def keepalive(self) -> None:
        """Say that we live; raises ExchangeFailed, and then registers anew the next time."""
        body = b'{"KeepaliveObject":{"DeviceID":"%s"}}' % self._own_id.encode()
        try:
            await self._exchange("POST", f"{self.address}/VIID/System/Keepalive", body)
        except ExchangeFailed:
            self.registered = False
            raise

    async def send(self, method: str, address: str, body: bytes = b"") -> None:
        """Send to an address of it; raises ExchangeFailed. Where it has forgotten us, we register and send again."""
        if self.credentials is not None and not self.registered:
            await self.register()
        try:
            await self._exchange(method, address, body)
        except ExchangeFailed as error:
            if error.status != 401 or self.credentials is None:
                raise
            await self.register()
            await self._exchange(method, address, body)

    async def _exchange(self, method: str, address: str, body: bytes, *, auth: httpx.Auth | None = None) -> None:
        headers = {"User-Identify": self._own_id, "Content-Type": CONTENT_TYPE, "Accept-Encoding": "identity"}
        try:
            async with asyncio.timeout(EXCHANGE_S):
                status, content = await self._ask(method, address, body, headers, auth)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            raise ExchangeFailed(f"no answer: {str(error) or type(error).__name__}") from error
        if status != 200:
            refused = 400 <= status < 500 and status not in _BUSY_STATUSES
            raise ExchangeFailed(f"it answered {status}", status=status, refused=refused)
        code, text = worst_status(content)
        if code != "0":
            raise ExchangeFailed(f"StatusCode {code}: {text}", status=status, refused=code in _REFUSED_CODES)

    async def _ask(
        self, method: str, address: str, body: bytes, headers: dict[str, str], auth: httpx.Auth | None
    ) -> tuple[int, bytes]:
        used = auth or httpx.USE_CLIENT_DEFAULT
        async with self._client.stream(method, address, content=body, headers=headers, auth=used) as answer:
            parts: list[bytes] = []
            room = ANSWER_BYTES_MAX
            async for part in answer.aiter_raw():
                room -= len(part)
                if room < 0:
                    raise ExchangeFailed(
                        f"its answer is longer than {ANSWER_BYTES_MAX} bytes", status=answer.status_code
                    )
                parts.append(part)
            return answer.status_code, b"".join(parts)
