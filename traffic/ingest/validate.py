"""Columns of what a sender wrote -> rows of PASSAGE, and for each record that is wrong its field and reason. Pure.

A batch is checked whole, column by column; only records that fail are looked at one by one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import repeat

import numpy as np

from traffic.errors import Reason
from traffic.ingest.bodies import Records
from traffic.ingest.catalogue import DIRECTION_CODES, Catalogue, Device
from traffic.ingest.checks import Check, Checked, Why, judge_rows, time_checks
from traffic.ingest.plate_column import PlateColumn, PlateReader
from traffic.limits import TEXT_CHARS_MAX
from traffic.readings import HAS_EXTRA, PASSAGE, Door, Extra, PassageBatch, place_hash

SPEED_KMH_MAX = 400.0
LENGTH_M_MAX = 60.0
CODE_MAX = 99
IMAGES_MAX = 10
NOT_A_NUMBER, NOT_IN_RANGE = -1, -2  # in a code column
VEHICLE_CLASS_MAX = 26 * 100 + CODE_MAX


@dataclass(slots=True, kw_only=True)
class Columns:
    """The readable records of one request, one entry a record in each column.

    `names`: our column -> the protocol's field, for answers. `compass`: `direction` holds GA/T 1400 codes.
    """

    names: Mapping[str, str]
    ids: list[str]  # "": the source does not number its records
    gates: list[str]
    observed_us: np.ndarray
    plates: list[str]
    codes: dict[str, np.ndarray]  # plate_class, direction, lane, plate_color, vehicle_class, body_color
    speed_kmh: np.ndarray  # float64, NaN: not measured
    length_m: np.ndarray
    images: dict[int, tuple[str, ...]]
    compass: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What one door judges with: who is known, the memory of plates, and which door it is."""

    catalogue: Catalogue
    plates: PlateReader
    door: Door


def validate(
    columns: Columns, read: Records, *, device: Device, bench: Bench, received_us: int
) -> Checked[PassageBatch]:
    """Judge all records of a request; `read` gives their places and bytes."""
    allowed = bench.catalogue.rows_for(device)
    gates = np.fromiter(map(allowed.get, columns.gates, repeat(-1)), np.int64, len(columns.gates))
    plates = bench.plates.read(columns.plates)
    checks = list(_checks(columns, gates, plates, bench.catalogue, received_us))
    good, refusals = judge_rows(checks, read, name_of=lambda name: columns.names.get(name, name))
    batch = _rows(columns, gates, plates, device, bench, received_us)
    index = np.array(read.index, np.int64)
    if not good.all():
        batch, index = batch.take(good), index[good]
    return Checked(batch=batch, index=index, refusals=refusals, count=read.count)


def _checks(
    columns: Columns, gates: np.ndarray, plates: PlateColumn, catalogue: Catalogue, received_us: int
) -> Iterator[Check]:
    """Each check as (column, mask of the records that fail, why), in the order in which a person would mend them."""

    def about_gate(row: int) -> tuple[Reason, str]:
        code = columns.gates[row]
        if not code:
            return Reason.MISSING_FIELD, "the checkpoint's code is missing"
        if code in catalogue.row_of_gate:
            return Reason.NOT_THIS_DEVICE, "the checkpoint belongs to no unit of this device's"
        return Reason.UNKNOWN_CHECKPOINT, f"no checkpoint has the code {code[:40]}"

    yield "checkpoint", gates < 0, about_gate
    yield from time_checks(columns.observed_us, received_us)
    if plates.faults:
        wrong = np.zeros(len(gates), bool)
        wrong[list(plates.faults)] = True
        yield "plate", wrong, plates.faults.__getitem__
    for name, values in columns.codes.items():
        top = _top(name, columns.compass)
        yield name, (values < 0) | (values > top), _about_code(values, top)
    for name, floats, limit in (
        ("speed_kmh", columns.speed_kmh, SPEED_KMH_MAX),
        ("length_m", columns.length_m, LENGTH_M_MAX),
    ):
        wrong = ~(np.isnan(floats) | ((floats >= 0) & (floats <= limit)))
        yield name, wrong, _about_float(floats, limit)
    yield from _check_images(columns, len(gates))


def _check_images(columns: Columns, count: int) -> Iterator[Check]:
    if columns.images:
        nul, long = np.zeros(count, bool), np.zeros(count, bool)
        nul[[row for row, images in columns.images.items() if any("\0" in image for image in images)]] = True
        yield "images", nul, lambda row: (Reason.MALFORMED, "an address holds a NUL character")
        long[[row for row, images in columns.images.items() if max(map(len, images)) > TEXT_CHARS_MAX]] = True
        yield "images", long, lambda row: (Reason.TOO_LONG, f"an address has at most {TEXT_CHARS_MAX} characters")


def _top(name: str, compass: bool) -> int:
    if name == "direction":
        return DIRECTION_CODES - 1 if compass else 2
    return VEHICLE_CLASS_MAX if name == "vehicle_class" else CODE_MAX


def _about_code(values: np.ndarray, top: int) -> Why:
    def why(row: int) -> tuple[Reason, str]:
        reason = Reason.WRONG_TYPE if values[row] == NOT_A_NUMBER else Reason.OUT_OF_RANGE
        return reason, f"must be a number from 0 to {top}"

    return why


def _about_float(values: np.ndarray, limit: float) -> Why:
    def why(row: int) -> tuple[Reason, str]:
        reason = Reason.WRONG_TYPE if values[row] == -np.inf else Reason.OUT_OF_RANGE
        return reason, f"must be a number from 0 to {limit:g}"

    return why


def _rows(
    columns: Columns, gates: np.ndarray, plates: PlateColumn, device: Device, bench: Bench, received_us: int
) -> PassageBatch:
    """All records as rows (of the wrong ones nothing is used)."""
    count = len(gates)
    rows = np.empty(count, PASSAGE)
    safe = np.maximum(gates, 0)  # a wrong record points anywhere
    ids = bench.catalogue.gate_ids
    rows["checkpoint"] = ids[safe] if len(ids) else 0
    rows["observed_at"] = columns.observed_us
    rows["received_at"] = received_us
    rows["plate_key"] = plates.keys
    rows["device"] = device.id
    rows["door"] = bench.door
    for name, values in columns.codes.items():
        rows[name] = values  # codecs give small numbers only, so that a wrong one fits too
    if columns.compass and len(ids):
        codes = np.minimum(np.maximum(columns.codes["direction"], 0), DIRECTION_CODES - 1)
        rows["direction"] = bench.catalogue.directions[safe, codes]
    with np.errstate(over="ignore"):
        rows["speed_kmh"] = columns.speed_kmh
        rows["length_m"] = columns.length_m
    rows["source_hash"] = _identities(columns, rows, device)
    rows["flags"] = 0
    extras = {
        row: Extra(plate_raw=plates.raw.get(row), images=columns.images.get(row, ()))
        for row in sorted(plates.raw.keys() | columns.images.keys())
    }
    if extras:
        rows["flags"][list(extras)] = HAS_EXTRA
    return PassageBatch(rows=rows, extras=extras, odd_plates=plates.odd)


def _identities(columns: Columns, rows: np.ndarray, device: Device) -> np.ndarray:
    """`readings.source_hash` of each record's id, or `place_hash` where the source gave none."""
    begun = blake2b(f"{device.code}\0".encode(), digest_size=8)  # copied for each record: half the price of a new one
    digests = []
    for text in columns.ids:
        digest = begun.copy()
        digest.update(text.encode())
        digests.append(digest.digest())
    hashes = np.frombuffer(b"".join(digests), "<i8").copy()
    without = [row for row, text in enumerate(columns.ids) if not text]
    for row in without:
        second = int(rows["observed_at"][row]) // 1_000_000
        where = rows["checkpoint"][row], rows["direction"][row], rows["lane"][row]
        hashes[row] = place_hash(int(where[0]), int(where[1]), int(where[2]), second, columns.plates[row])
    return hashes
