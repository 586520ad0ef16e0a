"""A seeded stream of passages at a constant rate of event time, as rows and as bodies for the native door."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from traffic.network import Section
from traffic.plates import plate_key
from traffic.readings import PASSAGE, Door, source_hash

PLATES = 100_000
WATCHED = 20  # plates on the watch-list, each seen as often as any other
UNREADABLE_SHARE = 0.01
UNMEASURED_SHARE = 0.05
SPEEDING_SHARE = 0.0005  # of all passages: exits of a section that was driven too fast
NO_SPEED = -1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """What the stream is made of: checkpoints as (id, code), sections, and how it runs in event time."""

    checkpoints: Sequence[tuple[int, str]]
    sections: Sequence[Section]
    passages: int
    start_us: int
    span_s: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Columns of the stream in the order of event time; `plates` and `codes` are what `plate` and `gate` number."""

    observed_us: np.ndarray
    plate: np.ndarray  # number in `plates`; len(plates): unreadable
    gate: np.ndarray  # number in `codes`
    direction: np.ndarray
    lane: np.ndarray
    speed_kmh: np.ndarray
    plates: list[str]
    codes: list[str]
    gate_ids: np.ndarray

    def __len__(self) -> int:
        return len(self.observed_us)


def watched_plates() -> list[str]:
    """The plates that a bench puts on the watch-list."""
    return [_plate(number) for number in range(WATCHED)]


def _plate(number: int) -> str:
    return f"吉{'ABCDEFGHJ'[number % 9]}{number // 9 % 100_000:05d}"


def make(mix: Mix) -> Stream:
    """Any vehicle at any checkpoint, and among them vehicles that drive a section faster than is allowed."""
    rng = np.random.default_rng(mix.seed)
    count = mix.passages
    observed = mix.start_us + (np.arange(count) * (mix.span_s * 1e6 / count)).astype(np.int64)
    plate = rng.integers(0, PLATES, count)
    plate[rng.random(count) < UNREADABLE_SHARE] = PLATES
    gate = rng.integers(0, len(mix.checkpoints), count)
    _speed_through_sections(rng, mix, observed, plate, gate)
    speed = np.round(rng.normal(92, 14, count).clip(20, 180), 1)
    speed[rng.random(count) < UNMEASURED_SHARE] = NO_SPEED
    return Stream(
        observed_us=observed,
        plate=plate,
        gate=gate,
        direction=rng.integers(1, 3, count),
        lane=rng.integers(1, 4, count),
        speed_kmh=speed,
        plates=[_plate(number) for number in range(PLATES)],
        codes=[code for _, code in mix.checkpoints],
        gate_ids=np.array([number for number, _ in mix.checkpoints], np.int32),
    )


def _speed_through_sections(
    rng: np.random.Generator, mix: Mix, observed: np.ndarray, plate: np.ndarray, gate: np.ndarray
) -> None:
    """Turn pairs of passages into entry and exit of a section, 25-60 % over its limit, by a plate of their own."""
    number_of = {checkpoint: number for number, (checkpoint, _) in enumerate(mix.checkpoints)}
    rate = len(observed) / mix.span_s
    for turn in range(int(len(observed) * SPEEDING_SHARE)):
        section = mix.sections[int(rng.integers(len(mix.sections)))]
        travel_s = section.length_m * 3.6 / (section.limit_kmh * rng.uniform(1.25, 1.6))
        later = int(travel_s * rate)
        if later >= len(observed):
            continue
        entry = int(rng.integers(len(observed) - later))
        plate[[entry, entry + later]] = (WATCHED + turn) % PLATES
        gate[[entry, entry + later]] = number_of[section.from_checkpoint], number_of[section.to_checkpoint]


def rows(stream: Stream, *, device: int, device_code: str, received_us: int) -> np.ndarray:
    """The stream as PASSAGE rows, as a door would make them."""
    made = np.zeros(len(stream), PASSAGE)
    keys = np.array([*(plate_key(text) for text in stream.plates), 0], np.int64)
    made["observed_at"], made["received_at"] = stream.observed_us, received_us
    made["source_hash"] = [source_hash(device_code, f"b{number}") for number in range(len(stream))]
    made["plate_key"] = keys[stream.plate]
    made["checkpoint"] = stream.gate_ids[stream.gate]
    made["device"], made["door"] = device, Door.NATIVE
    made["speed_kmh"] = np.where(stream.speed_kmh == NO_SPEED, np.nan, stream.speed_kmh)
    made["length_m"] = np.nan
    made["plate_class"], made["direction"], made["lane"] = 2, stream.direction, stream.lane
    return made


def bodies(stream: Stream, records: int) -> Iterator[bytes]:
    """The stream as JSON arrays for the native door, `records` in each."""
    plates = [*stream.plates, ""]
    for start in range(0, len(stream), records):
        part = slice(start, start + records)
        columns = zip(
            range(start, start + records),
            stream.observed_us[part].tolist(),
            stream.plate[part].tolist(),
            stream.gate[part].tolist(),
            stream.direction[part].tolist(),
            stream.lane[part].tolist(),
            stream.speed_kmh[part].tolist(),
            strict=False,
        )
        texts = [
            f'{{"id":"b{number}","checkpoint":"{stream.codes[gate]}","observed_at":"{rfc3339(at)}",'
            f'"plate":"{plates[plate]}","plate_class":2,"direction":{direction},"lane":{lane}'
            + (f',"speed_kmh":{speed}}}' if speed != NO_SPEED else "}")
            for number, at, plate, gate, direction, lane, speed in columns
        ]
        yield f"[{','.join(texts)}]".encode()


def rfc3339(us: int) -> str:
    """Microseconds since 1970 as a native sender writes them."""
    return datetime.fromtimestamp(us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{us % 1_000_000:06d}Z"
