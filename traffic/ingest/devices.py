"""Who may send: the catalogue kept fresh, and the registrations of GA/T 1400 devices in Redis."""

import asyncio
from collections.abc import Mapping

import psycopg
import redis
import redis.asyncio
import structlog

from traffic.clock import Clock, monotonic_s
from traffic.database import WRITER, as_role
from traffic.errors import ServiceError
from traffic.health import BEAT_S, Heartbeat
from traffic.ingest.catalogue import Catalogue
from traffic.ingest.digest import NONCE_S
from traffic.ingest.load import SQL, load_catalogue_async

POLL_S = BEAT_S
RELOAD_S = 60.0  # units come and go by time alone, without a change of version
REGISTRATION_S = 180  # three keepalives of 60 s missed
TRUST_S = 5.0  # how long a door believes what it last read of a registration
SIGN_OF_LIFE_S = 15.0  # at most one such event of a device on the bus
_CONNECT_S = 5

log = structlog.get_logger(__name__)


class Registry:
    """The catalogue of one door process. It outlives the database: the last one read stays in use."""

    def __init__(self, url: str, clock: Clock, heartbeat: Heartbeat, figures: "Mapping[str, object]") -> None:
        self._url = url
        self._clock = clock
        self._heartbeat = heartbeat
        self._figures = figures
        self._connection: psycopg.AsyncConnection | None = None
        self._loaded_s = 0.0
        self.catalogue: Catalogue | None = None

    async def keep(self, loaded: asyncio.Event) -> None:
        """Read, beat and read again until cancelled; sets `loaded` after the first catalogue."""
        try:
            while True:
                try:
                    await self._look()
                    if self.catalogue is not None:
                        loaded.set()
                except (psycopg.Error, OSError) as error:
                    log.warning("the database cannot be read; the door goes on with what it knows", why=str(error))
                    await self._close()
                await asyncio.sleep(POLL_S)
        finally:
            await self._close()

    async def _look(self) -> None:
        connection = self._connection
        if connection is None or connection.closed:
            connection = self._connection = await psycopg.AsyncConnection.connect(
                as_role(self._url, WRITER), autocommit=True, connect_timeout=_CONNECT_S
            )
        versions: dict[str, int] = dict(await (await connection.execute(SQL["versions"])).fetchall())
        stale = self.catalogue is None or self.catalogue.versions != versions
        if stale or monotonic_s() - self._loaded_s > RELOAD_S:
            async with connection.transaction():  # one snapshot: the versions belong to what was read
                await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                self.catalogue = await load_catalogue_async(
                    connection, now=self._clock.now(), secrets=True, roads=True, before=self.catalogue
                )
            self._loaded_s = monotonic_s()
        await self._heartbeat.beat(connection, self._figures)

    async def _close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()


# ---------------------------------------------------------------- registrations
class Sessions:
    """Registrations of GA/T 1400 devices: bound to a peer, gone without keepalive, known to every door.

    They stand in Redis beside the bus, so that a door that restarts, or another one, knows them. All methods raise
    ServiceError when Redis fails.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._read: dict[str, tuple[str, float]] = {}  # device code -> (peer, read at)

    async def open(self, code: str, peer: str) -> None:
        """A device registered from this peer; an older registration of it ends."""
        await self._do(self._client.set(_key(code), peer, ex=REGISTRATION_S))
        self._read[code] = (peer, monotonic_s())

    async def close(self, code: str) -> None:
        """A device unregistered."""
        self._read.pop(code, None)
        await self._do(self._client.delete(_key(code)))

    async def holds(self, code: str, peer: str) -> bool:
        """Whether this device is registered from this peer."""
        known, at = self._read.get(code, ("", 0.0))
        if known != peer or monotonic_s() - at > TRUST_S:
            found = await self._do(self._client.get(_key(code)))
            known = found.decode() if isinstance(found, bytes) else ""
            self._read[code] = (known, monotonic_s())
        return bool(known) and known == peer

    async def keep(self, code: str, peer: str) -> bool:
        """A keepalive: the registration lasts anew. False when there is none from this peer."""
        self._read.pop(code, None)
        if not await self.holds(code, peer):
            return False
        return bool(await self._do(self._client.expire(_key(code), REGISTRATION_S)))

    async def first_use(self, nonce: str, count: str) -> bool:
        """Whether this nonce was not used before with this count (remembered as long as a nonce is good)."""
        taken = await self._do(self._client.set(f"door:nonce:{nonce}:{count.lower()}", 1, nx=True, ex=NONCE_S))
        return bool(taken)

    async def _do(self, command: object) -> object:
        try:
            return await command  # type: ignore[misc]
        except redis.RedisError as error:
            raise ServiceError(f"Redis cannot be used: {error}") from error


def _key(code: str) -> str:
    return f"door:registration:{code}"


class SignsOfLife:
    """Which devices' signs of life are due on the bus: at most one in SIGN_OF_LIFE_S of each, a change at once."""

    def __init__(self) -> None:
        self._told: dict[int, tuple[str, float]] = {}

    def due(self, device_id: int, state: str) -> bool:
        """Whether this one should go on the bus; it then counts as told."""
        last, at = self._told.get(device_id, ("", 0.0))
        changed = last != state and not (state == "alive" and last == "registered")
        if not changed and monotonic_s() - at < SIGN_OF_LIFE_S:
            return False
        self._told[device_id] = (state, monotonic_s())
        return True

    def forget(self, device_id: int) -> None:
        """It did not get onto the bus: the next one is due."""
        self._told.pop(device_id, None)
