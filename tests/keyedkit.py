"""What tests of key vehicles' rules share: a long road with gates, a second one beside it, and days told in times."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from tests.rulekit import registry
from traffic.findings import Candidate, Finding, finding_id, fold
from traffic.network import Link
from traffic.plates import plate_key
from traffic.positions import PLACE, PlaceIndex
from traffic.readings import PASSAGE
from traffic.road_readings import ALARM, POSITION
from traffic.rule_rows import read_terms
from traffic.vehicles import RuleBook, build_rulebook, keyed
from traffic.vehicles.areas import Fence
from traffic.vehicles.checkpoints import Checkpoints
from traffic.vehicles.ground import Ground
from traffic.vehicles.permits import Permits, parse_permit
from traffic.vehicles.terms import RuleTerms
from traffic.vehicles.usual_times import UsualTimes

MIDNIGHT_US = 1_795_449_600_000_000  # 2026-11-24 00:00 local
SECOND_US, MINUTE_US, HOUR_US = 1_000_000, 60_000_000, 3_600_000_000
ROADS = {"G1": 1, "G102": 2}
_METRES_OF_DEGREE = 80_657.0  # of longitude at 43.5 degrees
_LENGTH_M, _STEP_M = 600_000, 30_000
GATES = {number: number * _STEP_M for number in range(1, 20)}  # on G1, by stake
COACH, TANKER, LORRY = "吉A10001", "吉A20002", "吉A30003"
UNIT = 7


def clock(text: str, day: int = 0) -> int:
    """08:30 or 08:30:15 local of the first or a later day, in microseconds."""
    parts = [int(part) for part in text.split(":")] + [0]
    return MIDNIGHT_US + ((day * 24 + parts[0]) * 3600 + parts[1] * 60 + parts[2]) * SECOND_US


def at(stake_m: float, road: str = "G1") -> tuple[float, float]:
    """The point of a stake; G102 runs 11 km north of G1."""
    return 122.0 + stake_m / _METRES_OF_DEGREE, 43.5 if road == "G1" else 43.6


def ground(fences: Iterable[Fence] = ()) -> Ground:
    """The two roads with the gates of G1."""
    places = np.zeros(len(GATES), PLACE)
    places["road"], places["unit"] = 1, UNIT
    places["stake_m"] = list(GATES.values())
    points = [at(stake_m) for stake_m in GATES.values()]
    return Ground(
        checkpoints=np.array(list(GATES), np.int64),
        checkpoint_places=places,
        checkpoint_lon=np.array([point[0] for point in points]),
        checkpoint_lat=np.array([point[1] for point in points]),
        roads=ROADS,
        road_kinds={1: "expressway", 2: "trunk"},
        below={UNIT: frozenset({UNIT})},
        fences={fence.id: fence for fence in fences},
    )


def _links() -> list[Link]:
    links = []
    for code, road in ROADS.items():
        for number in range(_LENGTH_M // _STEP_M):
            for direction in (1, 2):
                ends = [number * _STEP_M, (number + 1) * _STEP_M]
                begin, end = ends if direction == 1 else ends[::-1]
                links.append(
                    Link(
                        id=road * 1000 + direction * 100 + number,
                        road_id=road,
                        direction=direction,
                        from_stake_m=begin,
                        to_stake_m=end,
                        length_m=_STEP_M,
                        lanes=2,
                        limit_kmh=100,
                        unit_id=UNIT,
                        geometry=(at(begin, code), at(end, code)),
                    )  # fmt: skip
                )
    return links


PLACES = PlaceIndex(_links())


def usual(kmh: float = 90.0, spread: float = 0.1) -> UsualTimes:
    """Everybody drives so fast on G1."""
    stakes = np.array(list(GATES.values()), np.float64)
    apart = np.abs(stakes[:, None] - stakes[None, :]).astype(np.float32)
    return UsualTimes(
        checkpoints=np.array(list(GATES), np.int64),
        distance_m=apart,
        median_s=np.repeat((apart / (kmh / 3.6))[None], 24, axis=0).astype(np.float32),
        spread=np.full((24, *apart.shape), spread, np.float32),
    )


def rule(kind: str, number: int = 1, on: Ground | None = None, **fields: Any) -> RuleTerms:
    """A rule as people write it."""
    row = {
        "id": number, "version": 1, "kind": kind, "name": kind, "clause": "测试条款", "unit_id": None, "level": None,
        "lateness_s": 900, "parameters": {}, "scope": {}, "schedule": {}, "exemptions": {},
    }  # fmt: skip
    return read_terms(row | fields, on or ground())


def book(*rules: RuleTerms, **more: Any) -> RuleBook:
    """A book with these rules alone, and three registered vehicles."""
    vehicles = more.pop("vehicles", None) or registry(
        {"plate": COACH, "kind": 0, "unit": UNIT},
        {"plate": TANKER, "kind": 2, "unit": UNIT},
        {"plate": LORRY, "kind": 3, "unit": UNIT},
    )
    gates = [(gate, 1, stake_m, 100, *at(stake_m)) for gate, stake_m in GATES.items()]
    return build_rulebook(
        entries=(), sections=(), rules=(),
        audience_of_checkpoint={gate: frozenset({UNIT}) for gate in GATES},
        audience_of_unit={UNIT: frozenset({UNIT})},
        terms=rules, registry=vehicles, checkpoints=Checkpoints.of(gates, {1: "G1", 2: "G102"}), places=PLACES,
        usual=more.pop("usual_times", usual()), **more,
    )  # fmt: skip


def permits(*rows: dict[str, Any]) -> Permits:
    """Permits as they stand in the table, by default route permits without end."""
    usual_row = {
        "kind": "hazardous_route", "class_group": 1, "valid_from_us": 0, "valid_to_us": 1 << 62, "hours": [],
        "weekdays": [], "roads": [],
    }  # fmt: skip
    parsed = [
        parse_permit({"id": number, **usual_row, **row, "plate_key": plate_key(row["plate"])}, ROADS)
        for number, row in enumerate(rows, start=1)
    ]
    return Permits.of(parsed)


# ---------------------------------------------------------------- records
def passage(plate: str, gate: int, when: int, **fields: Any) -> np.ndarray:
    """One PASSAGE row; it is received a second later."""
    row = np.zeros(1, PASSAGE)
    row["observed_at"], row["received_at"] = when, when + SECOND_US
    row["plate_key"], row["plate_class"], row["checkpoint"], row["direction"] = plate_key(plate), 1, gate, 1
    row["lane"], row["speed_kmh"], row["source_hash"] = 1, 88.0, when % 1_000_003 * 100 + gate
    for name, value in fields.items():
        row[name] = value
    return row


def position(plate: str, stake_m: float, when: int, kmh: float = 80.0, **fields: Any) -> np.ndarray:
    """One POSITION row on a road (`road`), or at `lon`, `lat`; it is received a second later."""
    row = np.zeros(1, POSITION)
    row["observed_at"], row["received_at"] = when, when + SECOND_US
    row["subject"], row["subject_kind"], row["class_group"] = plate_key(plate), 1, 1
    row["lon"], row["lat"] = at(stake_m, fields.pop("road", "G1"))
    row["speed_kmh"], row["bearing_deg"] = kmh, 90.0
    for name, value in fields.items():
        row[name] = value
    return row


def alarm(plate: str, when: int, *bits: int, **fields: Any) -> np.ndarray:
    """One ALARM row; it is received a second later."""
    row = np.zeros(1, ALARM)
    row["observed_at"], row["received_at"], row["plate_key"] = when, when + SECOND_US, plate_key(plate)
    row["class_group"], row["bits"], row["speed_kmh"] = 1, sum(1 << bit for bit in bits), 60.0
    row["lon"], row["lat"] = at(100_000)
    for name, value in fields.items():
        row[name] = value
    return row


def drive(plate: str, start: int, minutes: float, *, from_m: float = 0, kmh: float = 80.0, every_s: int = 60) -> list:
    """Positions of a drive along G1, first and last moment included."""
    steps = round(minutes * 60 / every_s)
    return [
        position(plate, from_m + kmh / 3.6 * step * every_s, start + step * every_s * SECOND_US, kmh)
        for step in range(steps + 1)
    ]


def stand(plate: str, start: int, minutes: float, stake_m: float, *, every_s: int = 60, **fields: Any) -> list:
    """Positions of a vehicle that stands, first and last moment included."""
    steps = round(minutes * 60 / every_s)
    return [position(plate, stake_m, start + step * every_s * SECOND_US, 0.0, **fields) for step in range(steps + 1)]


# ---------------------------------------------------------------- telling a story
class Story:
    """A worker's memory of key vehicles, and the findings that come of what it says."""

    def __init__(self, of: RuleBook) -> None:
        self.book = of
        self.keyed = keyed.KeyedState()
        self.findings: dict[Any, Finding] = {}
        self.told: list[Candidate] = []
        self.revisions: list[Finding] = []

    def tell(self, *records: np.ndarray, now: int | None = None) -> list[Candidate]:
        """One batch of records of any kinds."""
        by_kind = {
            dtype: np.concatenate([row for row in records if row.dtype == dtype] or [np.empty(0, dtype)])
            for dtype in (PASSAGE, POSITION, ALARM)
        }
        now_us = now or max(int(row["received_at"][0]) for row in records)
        said = keyed.judge(
            self.keyed, self.book, passages=by_kind[PASSAGE], positions=by_kind[POSITION], alarms=by_kind[ALARM],
            now_us=now_us,
        )  # fmt: skip
        return self._heed(said, now_us)

    def live(self, records: Iterable[np.ndarray], *, batch_s: int = 60) -> list[Candidate]:
        """Records as they are received, a batch every so often."""
        waiting = sorted(records, key=lambda row: int(row["received_at"][0]))
        said: list[Candidate] = []
        while waiting:
            until = int(waiting[0]["received_at"][0]) + batch_s * SECOND_US
            now = [row for row in waiting if int(row["received_at"][0]) < until]
            waiting = waiting[len(now) :]
            said += self.tell(*now)
        return said

    def tick(self, now: int, quiet: Iterable[int] = ()) -> list[Candidate]:
        """A tick of the bus."""
        return self._heed(keyed.tick(self.keyed, self.book, now_us=now, quiet=frozenset(quiet)), now)

    def _heed(self, said: list[Candidate], now_us: int) -> list[Candidate]:
        self.told += said
        for candidate in said:
            name = finding_id(candidate.kind, candidate.plate_key, candidate.class_group, candidate.anchor)
            folded = fold(self.findings.get(name), candidate, now_us=now_us)
            if folded is not None:
                self.findings[name] = folded
                self.revisions.append(folded)
        return said

    @property
    def active(self) -> list[Finding]:
        """Findings that stand, in the order of their episodes."""
        return sorted((f for f in self.findings.values() if f.state == "active"), key=lambda f: (f.first_at, f.anchor))

    def final(self) -> list[tuple]:
        """What stands in the end, without the way to it."""
        return [
            (f.kind, f.plate_key, f.anchor, f.level, f.detail, tuple(o.record for o in f.observations))
            for f in self.active
        ]
