"""A seeded stream of passages at a constant rate of event time, as rows and as bodies for the native door."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from dashboards.bench.vehicles import drawn, is_registered, plate_keys, plate_texts
from traffic.network import Checkpoint, Section
from traffic.readings import PASSAGE, Door, source_hash

PLATES = 100_000
WATCHED = 20  # plates on the watch-list, each seen as often as any other
PATTERNS = ("吉A1?2*", "吉?00??7", "吉Z9Z*")
UNREADABLE_SHARE = 0.01
UNMEASURED_SHARE = 0.05
FAST_SHARE = 0.001  # of all passages: faster than the place allows, where a radar measures
SPEEDING_SHARE = 0.0005  # of all passages: exits of a section that was driven too fast
NO_SPEED = -1.0
NOBODY = -1  # number of a vehicle whose plate is not read
USUAL_SHARE = 0.8  # of the limit
KEY_KMH_MAX = 76.0  # key vehicles keep below what is allowed to them anywhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """What the stream is made of: places, how many vehicles, and how it runs in event time."""

    checkpoints: Sequence[Checkpoint]
    sections: Sequence[Section]
    passages: int
    start_us: int
    span_s: float
    seed: int
    plates: int = PLATES


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Columns of the stream in the order of event time; `codes` and `gate_ids` are what `gate` numbers."""

    first: int  # the sender's number of the first record
    observed_us: np.ndarray
    vehicle: np.ndarray  # number, or NOBODY
    gate: np.ndarray
    direction: np.ndarray
    lane: np.ndarray
    speed_kmh: np.ndarray
    codes: list[str]
    gate_ids: np.ndarray

    def __len__(self) -> int:
        return len(self.observed_us)

    @property
    def plate_keys(self) -> np.ndarray:
        """What is read of each vehicle; 0: nothing."""
        return np.where(self.vehicle == NOBODY, 0, plate_keys(np.maximum(self.vehicle, 0)))

    @property
    def plate_class(self) -> np.ndarray:
        """Key vehicles bear the plates of large ones."""
        return np.where(is_registered(self.vehicle), 1, 2)


def watched_plates() -> list[str]:
    """The plates that a bench puts on the watch-list, and patterns that a few of all plates fit."""
    return [*plate_texts(plate_keys(np.arange(WATCHED))), *PATTERNS]


def make(mix: Mix) -> Stream:
    """Vehicles at a checkpoint and at the next one of their road; among them some that drive a section too fast."""
    rng = np.random.default_rng(mix.seed)
    count = mix.passages
    observed = mix.start_us + (np.arange(count) * (mix.span_s * 1e6 / count)).astype(np.int64)
    vehicle, gate = _seen(rng, mix)
    vehicle[rng.random(count) < UNREADABLE_SHARE] = NOBODY
    _speed_through_sections(rng, mix, vehicle, gate)
    return Stream(
        first=mix.seed * 1_000_000_000,
        observed_us=observed,
        vehicle=vehicle,
        gate=gate,
        direction=rng.integers(1, 3, count),
        lane=rng.integers(1, 4, count),
        speed_kmh=_speeds(rng, mix, vehicle, gate),
        codes=[checkpoint.code for checkpoint in mix.checkpoints],
        gate_ids=np.array([checkpoint.id for checkpoint in mix.checkpoints], np.int32),
    )


def _seen(rng: np.random.Generator, mix: Mix) -> tuple[np.ndarray, np.ndarray]:
    """Who is seen where: about a checkpoint, and from some time on about the next one, on its way by nobody."""
    following, travel_s = _ways(mix.checkpoints)
    home = rng.integers(0, len(following), mix.plates, np.int16)
    leaves_s = rng.random(mix.plates, np.float32) * (2 * mix.span_s)  # half of them later than the stream ends
    at_s = np.arange(mix.passages) * (mix.span_s / mix.passages)
    vehicle, gate = np.empty(mix.passages, np.int64), np.empty(mix.passages, np.int64)
    rest = np.arange(mix.passages)
    while len(rest):
        some = drawn(rng, mix.plates, len(rest))
        under_way_s = at_s[rest] - leaves_s[some]
        gate[rest] = np.where(under_way_s < 0, home[some], following[home[some]])
        vehicle[rest] = some
        rest = rest[(under_way_s >= 0) & (under_way_s < travel_s[home[some]])]
    return vehicle, gate


def _ways(checkpoints: Sequence[Checkpoint]) -> tuple[np.ndarray, np.ndarray]:
    """Of each checkpoint the next one of its road (of the last the one before), and the seconds to it."""
    order = sorted(range(len(checkpoints)), key=lambda at: (checkpoints[at].road_id, checkpoints[at].stake_m))
    following, travel_s = np.arange(len(checkpoints)), np.zeros(len(checkpoints))
    for here, there in [*zip(order[1:], order, strict=False), *zip(order, order[1:], strict=False)]:
        one, other = checkpoints[here], checkpoints[there]
        if one.road_id == other.road_id:
            following[here] = there
            kmh = USUAL_SHARE * min(one.limit_kmh, other.limit_kmh)
            travel_s[here] = abs(other.stake_m - one.stake_m) * 3.6 / kmh
    return following, travel_s


def _speeds(rng: np.random.Generator, mix: Mix, vehicle: np.ndarray, gate: np.ndarray) -> np.ndarray:
    """What the radar says, of the few that drive too fast as of the others."""
    limit = np.array([checkpoint.limit_kmh for checkpoint in mix.checkpoints])[gate]
    speed = limit * rng.normal(USUAL_SHARE, 0.07, len(gate)).clip(0.3, 1.0)
    speed = np.where(is_registered(vehicle), np.minimum(speed, KEY_KMH_MAX), speed)
    fast = rng.random(len(gate)) < FAST_SHARE
    speed[fast] = limit[fast] * 1.35
    speed = np.round(speed, 1)
    speed[rng.random(len(gate)) < UNMEASURED_SHARE] = NO_SPEED
    return speed


def _speed_through_sections(rng: np.random.Generator, mix: Mix, vehicle: np.ndarray, gate: np.ndarray) -> None:
    """Turn pairs of passages into entry and exit of a section, 25-60 % over its limit, of vehicles of their own."""
    number_of = {checkpoint.id: number for number, checkpoint in enumerate(mix.checkpoints)}
    rate = len(vehicle) / mix.span_s
    for turn in range(int(len(vehicle) * SPEEDING_SHARE)):
        section = mix.sections[int(rng.integers(len(mix.sections)))]
        travel_s = section.length_m * 3.6 / (section.limit_kmh * rng.uniform(1.25, 1.6))
        later = int(travel_s * rate)
        if later >= len(vehicle) or {section.from_checkpoint, section.to_checkpoint} - number_of.keys():
            continue
        entry = int(rng.integers(len(vehicle) - later))
        vehicle[[entry, entry + later]] = mix.plates + turn
        gate[[entry, entry + later]] = number_of[section.from_checkpoint], number_of[section.to_checkpoint]


def rows(stream: Stream, *, device: int, device_code: str, received_us: int) -> np.ndarray:
    """The stream as PASSAGE rows, as a door would make them."""
    made = np.zeros(len(stream), PASSAGE)
    made["observed_at"], made["received_at"] = stream.observed_us, received_us
    numbers = range(stream.first, stream.first + len(stream))
    made["source_hash"] = [source_hash(device_code, f"b{number}") for number in numbers]
    made["plate_key"] = stream.plate_keys
    made["checkpoint"] = stream.gate_ids[stream.gate]
    made["device"], made["door"] = device, Door.NATIVE
    made["speed_kmh"] = np.where(stream.speed_kmh == NO_SPEED, np.nan, stream.speed_kmh)
    made["length_m"] = np.nan
    made["plate_class"], made["direction"], made["lane"] = stream.plate_class, stream.direction, stream.lane
    return made


def bodies(stream: Stream, records: int) -> Iterator[bytes]:
    """The stream as JSON arrays for the native door, `records` in each."""
    keys, classes = stream.plate_keys, stream.plate_class
    for start in range(0, len(stream), records):
        part = slice(start, start + records)
        columns = zip(
            range(stream.first + start, stream.first + start + records),
            stream.observed_us[part].tolist(),
            plate_texts(keys[part]),
            classes[part].tolist(),
            stream.gate[part].tolist(),
            stream.direction[part].tolist(),
            stream.lane[part].tolist(),
            stream.speed_kmh[part].tolist(),
            strict=False,
        )
        texts = [
            f'{{"id":"b{number}","checkpoint":"{stream.codes[gate]}","observed_at":"{rfc3339(at)}",'
            f'"plate":"{plate}","plate_class":{plate_class},"direction":{direction},"lane":{lane}'
            + (f',"speed_kmh":{speed}}}' if speed != NO_SPEED else "}")
            for number, at, plate, plate_class, gate, direction, lane, speed in columns
        ]
        yield f"[{','.join(texts)}]".encode()


def rfc3339(us: int) -> str:
    """Microseconds since 1970 as a native sender writes them."""
    return datetime.fromtimestamp(us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{us % 1_000_000:06d}Z"
