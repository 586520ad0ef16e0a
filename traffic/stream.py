"""The bus: Redis Streams, one for each partition, whose entries are packed batches under a dense counter.

An entry's id is `<generation>-<counter>`. Appending checks the byte bound, counts and adds in one script, so a
counter is never skipped: a hole seen by a reader means that Redis lost something. Redis holds no second truth: what
was committed, and which generation is in force, stands in PostgreSQL, and a partition that its worker has not opened
takes nothing.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from traffic.collect import BusMeta, Entry
from traffic.errors import BusClosed, BusFull, ServiceError
from traffic.limits import ENTRY_RECORDS_MAX, ROADS_PARTITION
from traffic.readings import (
    EntryKind,
    PassageBatch,
    encode_passages,
    encode_rows,
    encode_small,
    logical_partitions,
    position_routing,
    routing_keys,
)
from traffic.road_readings import RoadsideItem

WAKE_CHANNEL = "feed"
REDIS_TIMEOUT_S = 5.0
ROADSIDE_ITEMS_MAX = 500  # in one entry: a few hundred bytes each, some kilobytes at most

# A Redis that was started anew may have come back with less than it had: until the partition's worker has compared it
# with what is committed it takes nothing, or new entries could get counters that the worker believes to have read.
# A writer tells the highest counter that it was ever given: an older one now means that acknowledged entries are gone.
_RUN = "string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')"
_APPEND = f"""
local meta = redis.call('HMGET', KEYS[2], 'gen', 'seq', 'in_bytes', 'out_bytes', 'run')
if not meta[1] or meta[5] ~= {_RUN} then return {{'closed'}} end
local seq, in_bytes, out_bytes = tonumber(meta[2]), tonumber(meta[3]), tonumber(meta[4])
if meta[1] == ARGV[2] and seq < tonumber(ARGV[3]) then
    redis.call('HDEL', KEYS[2], 'gen')
    redis.call('HSET', KEYS[2], 'lost_gen', ARGV[2], 'lost_seq', ARGV[3])
    return {{'closed'}}
end
local bytes = 0
for i = 4, #ARGV do bytes = bytes + #ARGV[i] end
if in_bytes - out_bytes + bytes > tonumber(ARGV[1]) then return {{'full'}} end
for i = 4, #ARGV do
    seq = seq + 1
    in_bytes = in_bytes + #ARGV[i]
    local id = meta[1] .. '-' .. string.format('%.0f', seq)
    redis.call('XADD', KEYS[1], id, 'e', ARGV[i], 't', string.format('%.0f', in_bytes))
end
redis.call('HSET', KEYS[2], 'seq', string.format('%.0f', seq), 'in_bytes', string.format('%.0f', in_bytes))
return {{'ok', meta[1], string.format('%.0f', seq)}}
"""

# Opens a generation once; a second call for the same one changes nothing. Where the old one ended is kept for readers.
_OPEN = f"""
local meta = redis.call('HMGET', KEYS[2], 'gen', 'seq', 'in_bytes', 'out_bytes')
if meta[1] and tonumber(meta[1]) >= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[2], 'gen', ARGV[1], 'seq', 0, 'prev_gen', meta[1] or 0, 'prev_end', meta[2] or 0,
           'in_bytes', meta[3] or 0, 'out_bytes', meta[4] or 0, 'run', {_RUN})
redis.call('HDEL', KEYS[2], 'lost_gen', 'lost_seq')
return 1
"""

# The generation goes on in a Redis that was started anew, if it still stands where it was seen to stand.
_CONFIRM = f"""
local meta = redis.call('HMGET', KEYS[2], 'gen', 'seq')
if meta[1] ~= ARGV[1] or meta[2] ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[2], 'run', {_RUN})
return 1
"""

_META = f"return {{redis.call('HGETALL', KEYS[2]), {_RUN}}}"

_TRIM = """
redis.call('XTRIM', KEYS[1], 'MINID', '=', ARGV[1])
local out = tonumber(redis.call('HGET', KEYS[2], 'out_bytes') or '0')
if tonumber(ARGV[2]) > out then redis.call('HSET', KEYS[2], 'out_bytes', ARGV[2]) end
return 1
"""


def connect_redis(url: str) -> redis.asyncio.Redis:
    """A client that gives up soon: a sender is told to come again, and a banner wants to be true."""
    return redis.asyncio.Redis.from_url(
        url,
        socket_timeout=REDIS_TIMEOUT_S,
        socket_connect_timeout=REDIS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),  # a connection that died unseen
    )


def _reader(partition: int) -> str:
    return "monitor" if partition == ROADS_PARTITION else "worker"


def stream_key(partition: int) -> str:
    """Key of the partition's stream; the braces keep a partition's keys on one node of a cluster."""
    return f"bus:{{{partition}}}"


def meta_key(partition: int) -> str:
    """Key of the hash with the partition's generation, counter and byte counts."""
    return f"bus:{{{partition}}}:meta"


Packed = dict[int, list[tuple[np.ndarray, bytes]]]  # entries for each partition, each with the row numbers it holds


def _packed(batch: PassageBatch, of_rows: np.ndarray, partitions: int) -> Packed:
    order = np.argsort(of_rows.astype(np.int16), kind="stable")  # a radix sort
    together = batch.take(order)
    return {
        partition: [(order[part], encode_passages(together.part(part.start, part.stop))) for part in parts]
        for partition, parts in _parts(of_rows, partitions)
    }


def _packed_rows(kind: EntryKind, rows: np.ndarray, of_rows: np.ndarray, partitions: int) -> Packed:
    order = np.argsort(of_rows.astype(np.int16), kind="stable")
    together = rows[order]
    return {
        partition: [(order[part], encode_rows(kind, together[part])) for part in parts]
        for partition, parts in _parts(of_rows, partitions)
    }


def _parts(of_rows: np.ndarray, partitions: int) -> Iterator[tuple[int, list[slice]]]:
    """Each partition that has rows, with the entries' places in the rows sorted by partition."""
    end = 0
    for partition, count in enumerate(np.bincount(of_rows, minlength=partitions).tolist()):
        begin, end = end, end + count
        if count:
            starts = range(begin, end, ENTRY_RECORDS_MAX)
            yield partition, [slice(start, min(start + ENTRY_RECORDS_MAX, end)) for start in starts]


class BusWriter:
    """Appends to the bus. What it reports as taken is on Redis's disk (appendfsync always)."""

    def __init__(self, client: redis.asyncio.Redis, *, partitions: int, bytes_max: int) -> None:
        self._client = client
        self._partitions = partitions
        self._bytes_max = bytes_max
        self._append = client.register_script(_APPEND)
        self._seen: dict[int, tuple[str, int]] = {}

    async def append(self, kind: EntryKind, batch: Any) -> np.ndarray:
        """Append a batch (readings.Batch) of passages, positions, detector reports or roadside items."""
        if kind is EntryKind.PASSAGES:
            return await self.append_passages(batch)
        if kind is EntryKind.POSITIONS:
            return await self.append_positions(batch)
        if kind is EntryKind.DETECTORS:
            return await self.append_detectors(batch)
        if kind is EntryKind.ALARMS:
            return await self.append_alarms(batch)
        return await self.append_roadside(batch)

    async def append_passages(self, batch: PassageBatch) -> np.ndarray:
        """Append every row to its vehicle's partition; returns a boolean for each row: taken or not (bus full).

        Raises BusFull when none was taken, BusClosed when a partition is not open, ServiceError when Redis fails;
        after an error some rows may have been taken, which is safe: a record sent again has the same identity.
        """
        of_rows = logical_partitions(routing_keys(batch.rows)) % self._partitions
        return await self._append_packed(len(batch), _packed(batch, of_rows, self._partitions))

    async def append_positions(self, rows: np.ndarray) -> np.ndarray:
        """As `append_passages`, of POSITION rows: a vehicle's are on the partition of its passages."""
        of_rows = logical_partitions(position_routing(rows)) % self._partitions
        packed = _packed_rows(EntryKind.POSITIONS, rows, of_rows, self._partitions)
        return await self._append_packed(len(rows), packed)

    async def append_alarms(self, rows: np.ndarray) -> np.ndarray:
        """As `append_passages`, of ALARM rows: a vehicle's are on the partition of its passages."""
        of_rows = logical_partitions((rows["plate_key"] << 3) | rows["class_group"]) % self._partitions
        packed = _packed_rows(EntryKind.ALARMS, rows, of_rows, self._partitions)
        return await self._append_packed(len(rows), packed)

    async def append_detectors(self, rows: np.ndarray) -> np.ndarray:
        """As `append_passages`, of DETECTOR_REPORT rows, on the roads' partition: all are taken or none."""
        entries = [
            encode_rows(EntryKind.DETECTORS, rows[start : start + ENTRY_RECORDS_MAX])
            for start in range(0, len(rows), ENTRY_RECORDS_MAX)
        ]
        return await self._append_roads(len(rows), entries)

    async def append_roadside(self, items: list[RoadsideItem]) -> np.ndarray:
        """As `append_detectors`, of weather, works and cameras."""
        entries = [
            encode_small(EntryKind.ROADSIDE, items[start : start + ROADSIDE_ITEMS_MAX])
            for start in range(0, len(items), ROADSIDE_ITEMS_MAX)
        ]
        return await self._append_roads(len(items), entries)

    async def _append_roads(self, count: int, entries: list[bytes]) -> np.ndarray:
        if entries and not await self._send(ROADS_PARTITION, entries):
            raise BusFull("the bus of the roads is full: the monitor is behind; send again later")
        return np.ones(count, bool)

    async def _append_packed(self, count: int, entries: Packed) -> np.ndarray:
        taken = np.zeros(count, bool)
        answers = await asyncio.gather(*(self._send(p, [e for _, e in parts]) for p, parts in entries.items()))
        for answer, parts in zip(answers, entries.values(), strict=True):
            if answer:
                for index, _ in parts:
                    taken[index] = True
        if count and not taken.any():
            raise BusFull("the bus is full: the stream workers are behind; send again later")
        return taken

    async def append_small(self, kind: EntryKind, items: list, routing: int) -> None:
        """Append one entry of a rare kind to the partition chosen by `routing`; raises as `append_passages`."""
        partition = int(logical_partitions(np.array([routing], np.int64))[0]) % self._partitions
        if not await self._send(partition, [encode_small(kind, items)]):
            raise BusFull("the bus is full: the stream workers are behind; send again later")

    async def _send(self, partition: int, entries: list[bytes]) -> bool:
        generation, seq = self._seen.get(partition, ("", 0))
        try:
            answer = await self._append(
                keys=[stream_key(partition), meta_key(partition)], args=[self._bytes_max, generation, seq, *entries]
            )
        except redis.RedisError as error:
            raise ServiceError(f"Redis did not take the records: {error}") from error
        if answer[0] == b"closed":
            raise BusClosed(
                f"partition {partition} of the bus is not open: no {_reader(partition)} runs, or it is being repaired"
            )
        if answer[0] == b"full":
            return False
        self._seen[partition] = (answer[1].decode(), int(answer[2]))
        return True


class BusReader:
    """The worker's side: reads behind an offset, opens generations, ticks, trims. Synchronous."""

    def __init__(self, client: redis.Redis, *, bytes_max: int) -> None:
        self._client = client
        self._bytes_max = bytes_max
        self._append = client.register_script(_APPEND)
        self._open = client.register_script(_OPEN)
        self._confirm = client.register_script(_CONFIRM)
        self._meta = client.register_script(_META)
        self._trim = client.register_script(_TRIM)

    def read(self, places: dict[int, tuple[int, int]], *, count: int, wait_ms: int) -> dict[int, list[Entry]]:
        """Entries behind each partition's (generation, counter); waits up to `wait_ms` when there are none."""
        if not places:
            return {}
        streams = {stream_key(p): f"{generation}-{counter}" for p, (generation, counter) in places.items()}
        answer: Any = self._client.xread(streams, count=count, block=wait_ms)  # type: ignore[arg-type]
        found = {}
        for key, entries in answer or []:
            partition = int(key.decode().strip("bus:{}"))
            found[partition] = [_entry(identity, fields) for identity, fields in entries]
        return found

    def read_between(self, partition: int, after: tuple[int, int], upto: tuple[int, int], count: int) -> list[Entry]:
        """Entries with after < id <= upto, at most `count`: what a restored state has yet to see."""
        found: Any = self._client.xrange(
            stream_key(partition), f"({after[0]}-{after[1]}", f"{upto[0]}-{upto[1]}", count=count
        )
        return [_entry(identity, fields) for identity, fields in found]

    def meta(self, partition: int) -> BusMeta:
        """What Redis says of the partition now."""
        flat, run = self._meta(keys=[stream_key(partition), meta_key(partition)])
        values = {key.decode(): value.decode() for key, value in zip(flat[::2], flat[1::2], strict=True)}
        return BusMeta(
            generation=int(values["gen"]) if "gen" in values else None,
            confirmed=values.get("run") == run.decode(),
            counter=int(values.get("seq", 0)),
            previous_generation=int(values.get("prev_gen", 0)),
            previous_end=int(values.get("prev_end", 0)),
            lost_counter=int(values["lost_seq"]) if "lost_seq" in values else None,
            waiting_bytes=int(values.get("in_bytes", 0)) - int(values.get("out_bytes", 0)),
        )

    def open(self, partition: int, generation: int) -> None:
        """Let the doors append under this generation."""
        self._open(keys=[stream_key(partition), meta_key(partition)], args=[generation])

    def confirm(self, partition: int, meta: BusMeta) -> None:
        """Let the doors go on in a Redis that was started anew, after a look that found nothing missing."""
        place = [meta.generation or 0, meta.counter]
        self._confirm(keys=[stream_key(partition), meta_key(partition)], args=place)

    def append(self, partition: int, entry: bytes) -> bool:
        """Append one small entry (a tick); False when the partition is full or not open."""
        answer = self._append(keys=[stream_key(partition), meta_key(partition)], args=[self._bytes_max, "", 0, entry])
        return bool(answer[0] == b"ok")

    def trim(self, partition: int, upto: tuple[int, int], in_bytes: int) -> None:
        """Forget entries up to and with `upto`, which are committed and behind every snapshot."""
        self._trim(keys=[stream_key(partition), meta_key(partition)], args=[f"{upto[0]}-{upto[1] + 1}", in_bytes])

    def wake(self) -> None:
        """Tell the feed's readers that there is something new (they poll as well)."""
        self._client.publish(WAKE_CHANNEL, b"")


def _entry(identity: bytes, fields: dict[bytes, bytes]) -> Entry:
    generation, counter = identity.split(b"-")
    return Entry(
        generation=int(generation), counter=int(counter), data=fields.get(b"e", b""), in_bytes=int(fields.get(b"t", 0))
    )
