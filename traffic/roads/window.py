"""The last quarter of an hour of every point sensor, folded from reports as they come.

Reports come in any order, late, repeated, amended, lane by lane or for the whole carriageway, every 10 s to 15 min.
The window is a function of the set of reports alone: rows are kept, sorted by what they are, for as long as an
interval is in the window, and an interval that a report belongs to is folded again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from traffic.limits import CYCLE_S, SENSOR_INTERVALS
from traffic.road_readings import SELF_FAULT, VehicleGroup
from traffic.roads.model import Inputs, SensorKind, Sensors, Window

INTERVAL_US = CYCLE_S * 1_000_000
MINUTE_US = 60_000_000
LATE_US_MAX = 120 * 1_000_000  # a report that was received later than so after its interval is kept by the table only
AHEAD_INTERVALS = 5  # a clock that is ahead: such reports wait here until it is their time
FLOWS_US = 300 * 1_000_000  # checkpoint flows are told for so long, each time anew
SETTLED_US = 15 * 1_000_000  # a minute's passages are complete so long after it
PERIOD_S_MAX = 900
KEPT = SENSOR_INTERVALS + AHEAD_INTERVALS

# A report as it is kept: once for each interval that it speaks of.
LANE_REPORT = np.dtype(
    [
        ("slot", "<i4"),
        ("share_s", "<i4"),  # seconds of the interval that it speaks of
        ("observed_at", "<i8"),
        ("received_at", "<i8"),
        ("vehicles", "<i4"),
        ("heavy", "<i4"),
        ("period_s", "<i4"),
        ("flags", "<i4"),
        ("occupancy", "<f4"),
        ("speed_kmh", "<f4"),
    ]
)
_OPAQUE = np.dtype(f"V{LANE_REPORT.itemsize}")  # the same memory for numpy to move whole, several times faster


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """A slot for each lane of each detector: lane 0 (all together) first, then those from the median."""

    sensor: np.ndarray  # int64 (slots): row of the detector
    lane: np.ndarray  # int64 (slots)
    start: np.ndarray  # int64 (sensors): slot of lane 0; -1 for checkpoints
    detectors: np.ndarray  # int64: rows of the detectors, ascending
    checkpoints: np.ndarray  # int64: rows of the checkpoints' directions
    of_lanes: np.ndarray  # int64 (detectors): how many lanes
    ids: np.ndarray  # int64: ids of the detectors, ascending
    row_of_id: np.ndarray  # int64

    def __len__(self) -> int:
        return len(self.sensor)

    @property
    def first(self) -> np.ndarray:
        """Slot of lane 0 of each detector."""
        return self.start[self.detectors]

    def slots_of(self, detector: np.ndarray, lane: np.ndarray) -> np.ndarray:
        """Slot of each report; -1 for a detector or lane that does not exist."""
        if not len(self.ids):
            return np.full(len(detector), -1, np.int64)
        at = np.minimum(np.searchsorted(self.ids, detector), len(self.ids) - 1)
        row = self.row_of_id[at]
        many = np.zeros(len(self.start), np.int64)
        many[self.detectors] = self.of_lanes
        good = (self.ids[at] == detector) & (lane >= 0) & (lane <= many[row])
        return np.where(good, self.start[row] + lane, -1)


def lay_out(sensors: Sensors) -> Lanes:
    """Number the lanes of all detectors."""
    detectors = np.flatnonzero(sensors.kind == SensorKind.DETECTOR)
    lanes = np.maximum(sensors.lanes[detectors], 1)
    start = np.full(len(sensors), -1, np.int64)
    start[detectors] = np.cumsum(lanes + 1) - (lanes + 1)
    order = np.argsort(sensors.id[detectors], kind="stable")
    sensor = np.repeat(detectors, lanes + 1)
    return Lanes(
        sensor=sensor,
        lane=np.arange(len(sensor)) - start[sensor],
        start=start,
        detectors=detectors,
        checkpoints=np.flatnonzero(sensors.kind == SensorKind.CHECKPOINT),
        of_lanes=lanes,
        ids=sensors.id[detectors][order],
        row_of_id=detectors[order],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """What lanes said in one interval: rows as kept, and a column for each value (NaN: nothing said)."""

    rows: np.ndarray  # LANE_REPORT, by (slot, observed_at), each once
    vph: np.ndarray  # float32 (slots)
    occupancy: np.ndarray
    speed_kmh: np.ndarray
    heavy: np.ndarray  # share
    fault: np.ndarray  # bool


Reports = Mapping[int, Interval]  # by number: the interval that ends at number * 30 s
NO_REPORTS: Reports = {}


def number_of(at_us: int) -> int:
    """Number of the newest interval that has ended."""
    return at_us // INTERVAL_US


def kept_from(received: np.ndarray, lanes: Lanes, *, now_us: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to keep and the number of the interval of each; what is nonsense, too old or of nobody is left out."""
    slot = lanes.slots_of(received["detector"].astype(np.int64), received["lane"].astype(np.int64))
    observed, newest = received["observed_at"], number_of(now_us)
    period = received["period_s"].astype(np.int64)
    good = (slot >= 0) & (received["vehicles"] >= 0) & (period > 0) & (period <= PERIOD_S_MAX)
    good &= (observed > (newest - SENSOR_INTERVALS) * INTERVAL_US) & (
        observed <= (newest + AHEAD_INTERVALS) * INTERVAL_US
    )
    good &= received["received_at"] <= observed + LATE_US_MAX
    chosen = np.flatnonzero(good)
    rows = np.zeros(len(chosen), LANE_REPORT)
    for name in ("observed_at", "received_at", "vehicles", "heavy", "period_s", "flags", "occupancy", "speed_kmh"):
        rows[name] = received[name][chosen]
    rows["slot"] = slot[chosen]
    _clean(rows)
    return _spread(rows, newest)


def _clean(rows: np.ndarray) -> None:
    """Values that cannot be are not known; a mean speed of no vehicle is none."""
    occupancy, speed = rows["occupancy"], rows["speed_kmh"]
    occupancy[~((occupancy >= 0) & (occupancy <= 100))] = np.nan
    speed[~((speed >= 0) & (speed <= 250)) | (rows["vehicles"] == 0)] = np.nan
    rows["heavy"] = np.where(rows["heavy"] < 0, -1, np.minimum(rows["heavy"], rows["vehicles"]))


def _spread(rows: np.ndarray, newest: int) -> tuple[np.ndarray, np.ndarray]:
    """A report of more than one interval speaks of each of them."""
    number = -(-rows["observed_at"] // INTERVAL_US)
    many = np.maximum(np.rint(rows["period_s"] / CYCLE_S).astype(np.int64), 1)
    rows["share_s"] = np.minimum(rows["period_s"], CYCLE_S)
    if (many > 1).any():
        back = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
        rows, number = np.repeat(rows, many), np.repeat(number, many) - back
        inside = number > newest - SENSOR_INTERVALS
        rows, number = rows[inside], number[inside]
    return rows, number


def absorb(reports: Reports, received: np.ndarray, lanes: Lanes, *, now_us: int) -> tuple[Reports, set[int]]:
    """The reports with those received, and the numbers of the intervals that became others. Changes nothing."""
    newest = number_of(now_us)
    kept = {number: interval for number, interval in reports.items() if number > newest - SENSOR_INTERVALS}
    touched: set[int] = set()
    rows, numbers = kept_from(received, lanes, now_us=now_us)
    for number in sorted(set(numbers.tolist())):
        fresh, old = rows[numbers == number], kept.get(number)
        mine = fresh if old is None else np.concatenate([old.rows, fresh])
        kept[number] = fold_interval(unique_rows(mine), len(lanes))
        touched.add(number)
    return kept, touched


def unique_rows(rows: np.ndarray) -> np.ndarray:
    """One row for each slot and time: the one received last; of equals the one with the greatest content.

    An amended report takes the place of the first; whichever comes first here, the same one stays.
    """
    # One integer to sort by: slots and times of one interval are small numbers.
    begin = int(rows["observed_at"].min()) if len(rows) else 0
    key = (rows["slot"].astype(np.int64) << 32) | ((rows["observed_at"] - begin) // 1_000)
    if (key[1:] < key[:-1]).any():
        order = np.argsort(key, kind="stable")
        rows, key = rows.view(_OPAQUE)[order].view(LANE_REPORT), key[order]
    if not (key[1:] == key[:-1]).any():
        return rows
    twice = np.zeros(len(rows), bool)
    twice[1:] = key[1:] == key[:-1]
    twice[:-1] |= key[1:] == key[:-1]
    some = rows[twice]
    ranks = [some[name] for name in ("flags", "period_s", "heavy", "vehicles")]
    floats = [np.nan_to_num(some[name], nan=-1.0) for name in ("speed_kmh", "occupancy")]
    some = some[np.lexsort([*floats, *ranks, some["received_at"], some["observed_at"], some["slot"]])]
    last = np.ones(len(some), bool)
    last[:-1] = (some["slot"][1:] != some["slot"][:-1]) | (some["observed_at"][1:] != some["observed_at"][:-1])
    together = np.concatenate([rows[~twice], some[last]])
    return together[np.lexsort([together["observed_at"], together["slot"]])]


def fold_interval(rows: np.ndarray, slots: int) -> Interval:
    """Columns of an interval, of sorted rows: parts of it weigh by their seconds, speeds by their vehicles."""
    slot, share = rows["slot"], rows["share_s"].astype(np.float64)
    if not (slot[1:] == slot[:-1]).any():
        return _as_told(rows, slots)
    vehicles = rows["vehicles"] * (share / rows["period_s"])
    time_s = np.bincount(slot, share, slots)
    counted = np.bincount(slot, vehicles, slots)

    def mean(values: np.ndarray, weight: np.ndarray, known: np.ndarray) -> np.ndarray:
        total = np.bincount(slot[known], (values * weight)[known], slots)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (total / np.bincount(slot[known], weight[known], slots)).astype(np.float32)

    with np.errstate(invalid="ignore", divide="ignore"):
        vph = np.where(time_s > 0, counted * 3600.0 / time_s, np.nan).astype(np.float32)
        heavy = rows["heavy"] / rows["vehicles"]
    speed = rows["speed_kmh"].astype(np.float64)
    occupancy = rows["occupancy"].astype(np.float64)
    return Interval(
        rows=rows,
        vph=vph,
        occupancy=mean(occupancy, share, ~np.isnan(occupancy)),
        speed_kmh=mean(speed, vehicles, ~np.isnan(speed)),
        heavy=mean(heavy, vehicles, (rows["heavy"] >= 0) & (rows["vehicles"] > 0)),
        fault=np.bincount(slot, rows["flags"] & SELF_FAULT, slots) > 0,
    )


def _as_told(rows: np.ndarray, slots: int) -> Interval:
    """The usual case: one report a lane."""
    slot, vehicles = rows["slot"], rows["vehicles"]

    def column(values: np.ndarray) -> np.ndarray:
        full = np.full(slots, np.nan, np.float32)
        full[slot] = values
        return full

    fault = np.zeros(slots, bool)
    fault[slot] = (rows["flags"] & SELF_FAULT) != 0
    with np.errstate(invalid="ignore", divide="ignore"):
        heavy = np.where(rows["heavy"] >= 0, rows["heavy"] / vehicles, np.nan)
    return Interval(
        rows=rows,
        vph=column(vehicles * (3600.0 / rows["period_s"])),
        occupancy=column(rows["occupancy"]),
        speed_kmh=column(rows["speed_kmh"]),
        heavy=column(heavy),
        fault=fault,
    )


# ---------------------------------------------------------------- carriageways
VALUES = ("speed_kmh", "flow_vph", "occupancy", "heavy_share")
Columns = dict[str, np.ndarray]  # of VALUES, each float64 (K, sensors)


def no_columns(sensors: int) -> Columns:
    """Nothing said."""
    return {name: np.full((SENSOR_INTERVALS, sensors), np.nan) for name in VALUES}


def shifted(columns: Columns, by: int) -> Columns:
    """Copies `by` intervals later."""
    fresh = no_columns(columns["speed_kmh"].shape[1])
    if by < SENSOR_INTERVALS:
        for name in VALUES:
            fresh[name][: SENSOR_INTERVALS - by] = columns[name][by:]
    return fresh


def put_detectors(
    columns: Columns, reports: Reports, lanes: Lanes, usable: np.ndarray, places: Mapping[int, int]
) -> None:
    """Fold intervals of all detectors into columns. `usable`: slots; `places`: number of the interval -> column."""
    for number, place in places.items():
        interval = reports.get(number)
        if interval is not None and 0 <= place < SENSOR_INTERVALS:
            _put(columns, place, lanes.detectors, _carriageways(interval, lanes.first, lanes.of_lanes, usable))


def put_again(
    columns: Columns, reports: Reports, lanes: Lanes, usable: np.ndarray, changed: tuple[np.ndarray, int]
) -> None:
    """Fold the whole window of some detectors (rows, with the newest number): other lanes of them are usable now."""
    rows, newest = changed
    if not len(rows):
        return
    at = np.searchsorted(lanes.detectors, rows)
    many = lanes.of_lanes[at]
    first = np.cumsum(many + 1) - (many + 1)
    slots = np.arange((many + 1).sum()) - np.repeat(first, many + 1) + np.repeat(lanes.first[at], many + 1)
    for number, interval in reports.items():
        place = place_of(number, newest)
        if 0 <= place < SENSOR_INTERVALS:
            part = Interval(
                rows=interval.rows[:0],
                vph=interval.vph[slots],
                occupancy=interval.occupancy[slots],
                speed_kmh=interval.speed_kmh[slots],
                heavy=interval.heavy[slots],
                fault=interval.fault[slots],
            )
            _put(columns, place, rows, _carriageways(part, first, many, usable[slots]))


def place_of(number: int, newest: int) -> int:
    """Column of an interval in the window; outside 0..K-1 it is not in it."""
    return SENSOR_INTERVALS - 1 - (newest - number)


def _put(columns: Columns, place: int, rows: np.ndarray, values: dict[str, np.ndarray]) -> None:
    for name in VALUES:
        columns[name][place, rows] = values[name]


def _carriageways(told: Interval, first: np.ndarray, many: np.ndarray, usable: np.ndarray) -> dict[str, np.ndarray]:
    """Lanes taken together. A lane without a usable word is taken to flow as the others do; no lane: lane 0."""
    if not len(first):
        return {name: np.empty(0) for name in VALUES}
    vph = told.vph.astype(np.float64)
    known = usable & ~np.isnan(vph)
    counted = np.where(known, vph, 0.0)

    def over_lanes(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values, first) - values[first]  # all but lane 0

    def weighted(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
        good = known & ~np.isnan(values) & (weight > 0)
        held = np.where(good, weight, 0.0)
        by_lanes, weights = over_lanes(np.where(good, values, 0.0) * held), over_lanes(held)
        of_all = np.where(good[first], values[first], np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(by_lane, by_lanes / weights, of_all)

    told_lanes = over_lanes(known.astype(np.float64))
    by_lane = (told_lanes == many) | ((told_lanes > 0) & ~known[first])
    with np.errstate(invalid="ignore", divide="ignore"):
        flow = np.where(by_lane, over_lanes(counted) * many / told_lanes, np.where(known[first], vph[first], np.nan))
    return {
        "speed_kmh": weighted(told.speed_kmh.astype(np.float64), counted),
        "flow_vph": flow,
        "occupancy": weighted(told.occupancy.astype(np.float64), np.ones(len(vph))),
        "heavy_share": weighted(told.heavy.astype(np.float64), counted),
    }


# ---------------------------------------------------------------- checkpoints
_HEAVY = (VehicleGroup.HEAVY, VehicleGroup.COACH)


def put_checkpoints(columns: Columns, sensors: Sensors, lanes: Lanes, inputs: Inputs, *, now_us: int) -> None:
    """Passages of whole minutes of the last five as columns; a minute without a row is zero where the sender lives."""
    if not len(lanes.checkpoints):
        return
    newest = number_of(now_us)
    last = (now_us - SETTLED_US) // MINUTE_US - 1  # the newest minute that is complete
    minutes = np.arange(last - FLOWS_US // MINUTE_US + 1, last + 1)
    flows = inputs.flows
    row = sensors.rows_of(SensorKind.CHECKPOINT, flows["checkpoint"], flows["direction"])
    minute = flows["minute"] // MINUTE_US
    good = (row >= 0) & (minute >= minutes[0]) & (flows["passages"] >= 0) & (flows["measured"] >= 0)
    alive_us = _alive_us(sensors, lanes, inputs, (row[good], minute[good]))
    at = np.searchsorted(lanes.checkpoints, row)
    for number in minutes.tolist():
        chosen = good & (minute == number)
        values = _minute(flows[chosen], at[chosen], len(lanes.checkpoints))
        lives = (values["flow_vph"] > 0) | (alive_us >= (number + 1) * MINUTE_US)
        values["flow_vph"] = np.where(lives, values["flow_vph"], np.nan)
        for half in (1, 2):
            place = place_of(2 * number + half, newest)
            if 0 <= place < SENSOR_INTERVALS:
                _put(columns, place, lanes.checkpoints, values)


def _alive_us(sensors: Sensors, lanes: Lanes, inputs: Inputs, seen: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Until when each checkpoint's direction is known to have worked: by its sender, or by what it saw later."""
    ids = sensors.id[lanes.checkpoints]
    if inputs.alive_us:
        known = np.array(sorted(inputs.alive_us.items()), np.int64)
        at = np.minimum(np.searchsorted(known[:, 0], ids), len(known) - 1)
        alive = np.where(known[at, 0] == ids, known[at, 1], 0)
    else:
        alive = np.zeros(len(ids), np.int64)
    row, minute = seen
    _, group = np.unique(ids, return_inverse=True)  # both directions hang on one camera gate
    newest = np.zeros(int(group.max()) + 1, np.int64)
    np.maximum.at(newest, group[np.searchsorted(lanes.checkpoints, row)], minute * MINUTE_US)
    return np.maximum(alive, newest[group])


def _minute(flows: np.ndarray, at: np.ndarray, many: int) -> dict[str, np.ndarray]:
    passages = np.bincount(at, flows["passages"], many)
    measured = np.bincount(at, flows["measured"], many)
    classed = flows["group"] != VehicleGroup.UNKNOWN
    heavy = np.isin(flows["group"], _HEAVY)
    speed_sum = np.where(np.isfinite(flows["speed_sum"]), flows["speed_sum"], 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        speed = np.bincount(at, speed_sum, many) / measured
        share = np.bincount(at, flows["passages"] * heavy, many) / np.bincount(at, flows["passages"] * classed, many)
    return {
        "speed_kmh": np.where((speed >= 0) & (speed <= 250), speed, np.nan),
        "flow_vph": passages * 60.0,
        "occupancy": np.full(many, np.nan),
        "heavy_share": share,
    }


def as_window(columns: Columns, trust: np.ndarray, *, now_us: int) -> Window:
    """The window as others read it: rows are sensors."""
    newest = number_of(now_us)
    return Window(
        ends_us=np.arange(newest - SENSOR_INTERVALS + 1, newest + 1) * INTERVAL_US,
        speed_kmh=columns["speed_kmh"].T,
        flow_vph=columns["flow_vph"].T,
        occupancy=columns["occupancy"].T,
        heavy_share=columns["heavy_share"].T,
        trust=trust,
    )
