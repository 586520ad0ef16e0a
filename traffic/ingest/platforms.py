"""The door of JT/T 809: the transport authority's platforms log in here, as lower platforms, by TCP.

A hostile or broken peer costs its own connection: there is a bound on connections in all and of one address, on the
time until the login, on bytes before a frame ends, on silence, and on what waits to be read by the peer.
"""

import asyncio
import contextlib
import hmac
import secrets
import socket
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator

import msgspec
import structlog

from traffic.clock import monotonic_s
from traffic.errors import SettingsError, TrafficError
from traffic.ingest import jt809
from traffic.ingest.catalogue import Device
from traffic.ingest.desk import Desk
from traffic.ingest.jt809 import FrameError, Kind, Login, LoginResult, Message, Splitter
from traffic.ingest.links import PlatformSecret
from traffic.ingest.platform_link import READ_BYTES_MAX, Agreed, NotTaken, PlatformLink, Wire
from traffic.ingest.platform_words import PlatformWords
from traffic.secrets import SecretUnreadable, decrypt
from traffic.settings import Settings

CONNECTIONS_MAX = 256
CONNECTIONS_OF_PEER_MAX = 16
LOGIN_S = 10.0
FAILURES_MAX, FAILURES_S = 5, 60.0  # logins of one address that fail; beyond it all are told to come later
PEERS_REMEMBERED_MAX = 10_000
GRACE_S = 5.0
_LOGIN_BYTES = {24 + 46: 2011, 24 + 58: 2019}  # of a login between its marks: 2019 adds a time and a code

log = structlog.get_logger(__name__)


class LoginRefused(TrafficError):
    """A login is answered with this result and closed."""

    def __init__(self, result: LoginResult, why: str) -> None:
        super().__init__(why)
        self.result = result


class _Failures:
    """Which addresses failed to log in, and how often lately."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def count(self, peer: str) -> int:
        """Failures of this address in the last FAILURES_S."""
        failures, at_s = self._seen.get(peer, (0, 0.0))
        return failures if monotonic_s() - at_s < FAILURES_S else 0

    def add(self, peer: str) -> None:
        """One more."""
        self._seen[peer] = (self.count(peer) + 1, monotonic_s())
        self._seen.move_to_end(peer)
        if len(self._seen) > PEERS_REMEMBERED_MAX:
            self._seen.popitem(last=False)


def listen(settings: Settings) -> socket.socket:
    """The listening socket; raises SettingsError when the address can't be had."""
    try:
        return socket.create_server((settings.host, settings.platform_port), backlog=64)
    except OSError as error:
        where = f"{settings.host}:{settings.platform_port}"
        raise SettingsError(
            f"the door for platforms cannot listen on {where}: {error.strerror} (TRAFFIC_HOST, TRAFFIC_PLATFORM_PORT)"
        ) from error


class Platforms:
    """One for each doors process."""

    def __init__(self, desk: Desk, settings: Settings) -> None:
        self._desk = desk
        self._links: dict[str, PlatformLink] = {}  # by the device's code
        self._peers: Counter[str] = Counter()
        self._failures = _Failures()
        self._tasks: set[asyncio.Task[None]] = set()
        self._words = PlatformWords(settings.database_url or "", settings.clock, lambda: dict(self._links))

    @contextlib.asynccontextmanager
    async def open(self, listener: socket.socket) -> AsyncIterator[None]:
        """Serve inside of the `with`; what was read at its end still goes on the bus."""
        server = await asyncio.start_server(self._accept, sock=listener, limit=READ_BYTES_MAX)
        speaking = asyncio.create_task(self._words.keep())
        log.info("the door for platforms is open", address="{}:{}".format(*listener.getsockname()[:2]))
        try:
            yield
        finally:
            server.close()
            for link in list(self._links.values()):
                link.close()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=GRACE_S)
            for task in [speaking, *self._tasks]:
                task.cancel()
            await asyncio.gather(speaking, *self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = _peer(writer)
        if self._peers.total() >= CONNECTIONS_MAX or self._peers[peer] >= CONNECTIONS_OF_PEER_MAX:
            writer.transport.abort()
            return
        self._peers[peer] += 1
        task = asyncio.create_task(self._hold(reader, writer, peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        """One connection, from its begin to its end."""
        try:
            await self._attend(reader, writer, peer)
        except (TrafficError, OSError, TimeoutError) as error:
            log.info("a platform's connection ended", peer=peer, why=str(error) or type(error).__name__)
        finally:
            self._peers[peer] -= 1
            if not self._peers[peer]:
                del self._peers[peer]
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(GRACE_S):
                    await writer.wait_closed()
            writer.transport.abort()

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        splitter = Splitter()
        async with asyncio.timeout(LOGIN_S):
            frames: list[bytes] = []
            while not frames:
                data = await reader.read(READ_BYTES_MAX)
                if not data:
                    return
                frames = splitter.feed(data)
        agreed = self._greet(frames[0], writer, peer)
        if agreed is None:
            return
        link = PlatformLink(self._desk, agreed, writer, self._words.answered)
        code = agreed.device.code
        before, self._links[code] = self._links.get(code), link
        if before is not None:
            before.close()  # the newest counts: an old connection may hang for minutes after a network broke
        await self._desk.tell(agreed.device, "registered", peer)
        log.info("a platform logged in", platform=code, peer=peer, edition=agreed.year, encrypted=agreed.encrypted)
        try:
            await link.run(reader, splitter, frames[1:])
        except NotTaken as error:
            log.warning("a platform's records were not taken and it is closed", platform=code, why=str(error))
        finally:
            if self._links.get(code) is link:
                del self._links[code]
                await self._desk.tell(agreed.device, "unregistered", peer)

    # ------------------------------------------------------------ logins
    def _greet(self, frame: bytes, writer: asyncio.StreamWriter, peer: str) -> Agreed | None:
        """Judge the first frame and answer it; None: refused. Raises FrameError where it is no login at all."""
        message, year, device = self._known(frame)
        login, secret = jt809.read_login(message.body, year=year), self._secret(device)
        verify = secrets.randbits(31)
        back = None
        try:
            if self._failures.count(peer) >= FAILURES_MAX:
                raise LoginRefused(LoginResult.BUSY, "too many logins failed; come again later")
            found = _admit(device, secret, login, peer)
            if found.link.may_be_called_at(login.back_host, peer) and 0 < login.back_port < 65536:
                back = (login.back_host, login.back_port)
        except LoginRefused as refused:
            self._failures.add(peer)
            log.info("a platform's login is refused", peer=peer, centre=message.centre, why=str(refused))
            self._answer(message, secret, year, writer, refused.result)
            return None
        agreed = Agreed(
            device=found, peer=peer, year=year, centre=message.centre, cipher=secret.cipher if secret else None,
            encrypted=message.encrypted, back=back, verify=verify,
        )  # fmt: skip
        Wire(writer, agreed, self._now_s).send(Kind.LOGIN_ANSWER, jt809.login_answer(LoginResult.OK, verify))
        return agreed

    def _known(self, frame: bytes) -> tuple[Message, int, Device | None]:
        """The login, its edition, and who has this access code; the body may be encrypted for that one alone.

        The editions tell themselves apart by the length of the message alone.
        """
        content = jt809.unescape(frame)
        year = _LOGIN_BYTES.get(len(content))
        if year is None:
            raise FrameError(f"a first message of {len(content)} bytes is no login of a known edition")
        device = self._desk.catalogue.find_platform(jt809.centre_of(content))
        secret = self._secret(device)
        message = jt809.unpack(frame, cipher=secret.cipher if secret else None, year=year)
        if message.kind != Kind.LOGIN:
            raise FrameError(f"the first message is {message.kind:#06x} and no login")
        return message, year, device

    def _secret(self, device: Device | None) -> PlatformSecret | None:
        if device is None:
            return None
        try:
            return msgspec.json.decode(decrypt(self._desk.secret_key, device.secret), type=PlatformSecret)
        except (SecretUnreadable, msgspec.MsgspecError) as error:
            log.error("a platform's secret cannot be read", platform=device.code, why=str(error))
            return None

    def _answer(
        self, message: Message, secret: PlatformSecret | None, year: int, writer: asyncio.StreamWriter,
        result: LoginResult,
    ) -> None:  # fmt: skip
        encrypted = message.encrypted and secret is not None
        answer = Message(
            kind=Kind.LOGIN_ANSWER, serial=1, centre=message.centre, body=jt809.login_answer(result, 0),
            encrypted=encrypted, key=message.key, time_s=self._now_s() if year >= 2019 else None,
        )  # fmt: skip
        writer.write(jt809.pack(answer, secret.cipher if secret else None))

    def _now_s(self) -> int:
        return self._desk.clock.now_us() // 1_000_000


def _admit(device: Device | None, secret: PlatformSecret | None, login: Login, peer: str) -> Device:
    """The platform, if all that it shows is right; raises LoginRefused with the result of the norm."""
    if device is None:
        raise LoginRefused(LoginResult.WRONG_CODE, "no platform has this access code")
    if not device.link.may_come_from(peer):
        raise LoginRefused(LoginResult.WRONG_ADDRESS, "the platform may not come from this address")
    if device.link.user != login.user or not device.enabled:
        raise LoginRefused(LoginResult.UNKNOWN_USER, "the user is not known")
    if secret is None:
        raise LoginRefused(LoginResult.OTHER, "the platform's secret cannot be read here")
    if not hmac.compare_digest(secret.password.encode(), login.password.encode()):
        raise LoginRefused(LoginResult.WRONG_PASSWORD, "the password is wrong")
    return device


def _peer(writer: asyncio.StreamWriter) -> str:
    found = writer.get_extra_info("peername")
    return str(found[0]) if found else "local"
