"""Passages for tests of the rules, told in minutes after T0, and a rule book over a road of few checkpoints."""

import numpy as np

from traffic.audience import RESTRICTED
from traffic.findings import Candidate, Finding, finding_id, fold
from traffic.plates import plate_key
from traffic.readings import PASSAGE
from traffic.vehicles import RuleBook, build_rulebook
from traffic.vehicles.watchlist import WatchEntry

T0 = 1_790_000_000_000_000
MINUTE = 60_000_000
SECOND = 1_000_000
A, B, C, D = 1, 2, 3, 4  # checkpoints: A -> B and B -> C are sections of 10 km at 100 km/h, D belongs to none
UNITS = {A: frozenset({1, 11}), B: frozenset({1, 11}), C: frozenset({1, 12}), D: frozenset({1, 12})}
RULES = (
    {"id": 1, "version": 1, "kind": "watch_hit", "name": "布控比中", "clause": "条款一", "parameters": {}},
    {
        "id": 2,
        "version": 3,
        "kind": "section_speed",
        "name": "区间测速",
        "clause": "条款二",
        "parameters": {"tolerance_percent": 10},
    },
)
SECTIONS = ((1, A, B, 10_000, 100), (2, B, C, 10_000, 100))


def passages(*seen: tuple, plate: str = "吉A12345", plate_class: int = 2) -> np.ndarray:
    """PASSAGE rows from (minutes after T0, checkpoint[, source_hash]); a hash not told follows from the others."""
    rows = np.zeros(len(seen), PASSAGE)
    for number, (minutes, checkpoint, *source) in enumerate(seen):
        rows[number]["observed_at"] = T0 + round(minutes * MINUTE)
        rows[number]["checkpoint"] = checkpoint
        rows[number]["source_hash"] = source[0] if source else round(minutes * MINUTE) * 10 + checkpoint
    rows["received_at"] = rows["observed_at"] + 500_000
    rows["plate_key"] = plate_key(plate)
    rows["plate_class"] = plate_class
    rows["direction"], rows["lane"], rows["speed_kmh"], rows["length_m"] = 1, 2, 96.5, np.nan
    return rows


def watch(number: str = "BK-1", plate: str = "吉A12345", **fields: object) -> WatchEntry:
    """A watch-list entry in force for a day around T0."""
    given = {
        "id": 1,
        "number": number,
        "plate": plate,
        "plate_key": plate_key(plate),
        "class_group": 0,
        "category": 1,
        "level": 1,
        "facts": "测试",
        "intercept": True,
        "unit_id": 1,
        "visibility": 0,
        "audience": frozenset({1}),
        "addressees": frozenset(),
        "valid_from_us": T0 - 1440 * MINUTE,
        "valid_to_us": T0 + 1440 * MINUTE,
        "version": 1,
    }
    return WatchEntry(**{**given, **fields})  # type: ignore[arg-type]


def restricted(number: str = "BK-R", addressees: tuple[int, ...] = (11,), **fields: object) -> WatchEntry:
    """A restricted entry that names who may know of it."""
    return watch(number, visibility=RESTRICTED, addressees=frozenset(addressees), **fields)


def rulebook(*entries: WatchEntry, sections: tuple = SECTIONS, rules: tuple = RULES) -> RuleBook:
    """The rule book over the test road."""
    return build_rulebook(entries=entries, sections=sections, rules=rules, audience_of_checkpoint=UNITS)


def fold_all(stored: dict, candidates: list[Candidate], now_us: int = T0) -> list[Finding]:
    """Fold candidates into `stored` (by id), as the worker does; gives the revisions made."""
    revisions = []
    for candidate in candidates:
        identity = finding_id(candidate.kind, candidate.plate_key, candidate.class_group, candidate.anchor)
        finding = fold(stored.get(identity), candidate, now_us=now_us)
        if finding is not None:
            stored[identity] = finding
            revisions.append(finding)
    return revisions
