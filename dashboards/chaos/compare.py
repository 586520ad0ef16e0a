"""What must hold at the end of a chaos run, as differences between what should be and what is; [] is none. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dashboards.chaos.bodies import Content, Identity, content, identity
from dashboards.chaos.plan import Fault, Plan, Request
from dashboards.chaos.watchers import Told
from traffic.findings import Candidate, Finding, finding_id, fold
from traffic.readings import Door
from traffic.vehicles import RuleBook, judge_batch
from traffic.vehicles.state import VehicleState

SHOWN_MAX = 5  # of each kind of difference in the report
JUDGED_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the plan must have left behind."""

    content: dict[Identity, Content]  # of each passage, as told last
    told_by: dict[Identity, set[tuple[int, int]]]  # (door, device number) that told it
    amended: set[Identity]
    markers: set[str]  # of faulty records


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a finding says in the end, however it came about."""

    kind: str
    plate_key: int
    level: int
    count: int
    records: tuple[str, ...]
    speed_kmh: float | None


def expected_of(plan: Plan, start_us: int, codes: Mapping[Door, Sequence[tuple[str, int]]]) -> Expected:
    """From the plan alone; `codes`: (device code, number) of each sender."""
    contents: dict[Identity, Content] = {}
    told_by: dict[Identity, set[tuple[int, int]]] = {}
    amended: set[Identity] = set()
    markers: set[str] = set()
    for request in sorted((r for r in plan.requests if not r.ghost), key=_after_what_it_amends):
        code, device = codes[request.door][request.sender]
        for record in request.records:
            if isinstance(record, Fault):
                markers.add(record.marker)
                continue
            who = identity(start_us, record, code)
            if request.after is not None:
                amended.add(who)
            if request.after is not None or who not in contents:
                contents[who] = content(record)
            told_by.setdefault(who, set()).add((int(request.door), device))
    return Expected(content=contents, told_by=told_by, amended=amended, markers=markers)


def _after_what_it_amends(request: Request) -> tuple[bool, int]:
    return request.after is not None, request.number


def lists(what: str, items: Iterable[object]) -> list[str]:
    """Some of the items in words, and how many there are."""
    found = sorted(map(str, items))
    more = f" (and {len(found) - SHOWN_MAX} more)" if len(found) > SHOWN_MAX else ""
    return [f"{what}: {item}" for item in found[:SHOWN_MAX]] + ([f"{what}{more}"] if more else [])


# ---------------------------------------------------------------- passages
def compare_passages(expected: Expected, stored: Sequence[tuple[Identity, Content]]) -> list[str]:
    """Every passage once, none that was not sent, each as it was told last."""
    times = Counter(who for who, _ in stored)
    said = dict(stored)
    return [
        *lists("acknowledged but not stored", expected.content.keys() - times.keys()),
        *lists("stored but never sent whole", times.keys() - expected.content.keys()),
        *lists("stored more than once", (who for who, count in times.items() if count > 1)),
        *lists(
            "stored otherwise than told",
            (
                f"{who} {said[who]} instead of {told}"
                for who, told in expected.content.items()
                if who in said and not _same(said[who], told)
            ),
        ),
    ]


def _same(stored: Content, told: Content) -> bool:
    left, right = stored.speed_kmh, told.speed_kmh
    if (left is None) != (right is None) or (left is not None and right is not None and abs(left - right) > 0.01):
        return False
    return (
        (stored.checkpoint, stored.plate_key, stored.plate_class, stored.direction, stored.lane)
        == (told.checkpoint, told.plate_key, told.plate_class, told.direction, told.lane)
    )  # fmt: skip


def compare_sources(
    expected: Expected, first: Mapping[Identity, tuple[int, int]], more: Iterable[tuple[Identity, tuple[int, int]]]
) -> list[str]:
    """Every door and device that told a passage is named with it once, the first in its own row."""
    named: dict[Identity, list[tuple[int, int]]] = {who: [way] for who, way in first.items()}
    for who, way in more:
        named.setdefault(who, []).append(way)
    return lists(
        "told by other doors than named",
        (
            f"{who} {sorted(named.get(who, []))} instead of {sorted(ways)}"
            for who, ways in expected.told_by.items()
            if sorted(named.get(who, [])) != sorted(ways)
        ),
    )


def compare_amendments(expected: Expected, stored: Sequence[Identity]) -> list[str]:
    """One amendment for each passage that was sent again with other content."""
    times = Counter(stored)
    return [
        *lists("not amended", expected.amended - times.keys()),
        *lists("amended although told but one way", times.keys() - expected.amended),
        *lists("amended more than once", (who for who, count in times.items() if count > 1)),
    ]


def compare_rows(what: str, wanted: Mapping[tuple, tuple], found: Mapping[tuple, tuple]) -> list[str]:
    """Figures by key, floats to a thousandth."""
    return lists(
        what,
        (
            f"{key} {found.get(key)} instead of {wanted.get(key)}"
            for key in wanted.keys() | found.keys()
            if not _near(wanted.get(key), found.get(key))
        ),
    )


def _near(left: tuple | None, right: tuple | None) -> bool:
    if left is None or right is None or len(left) != len(right):
        return False
    return all(abs(a - b) < 1e-3 for a, b in zip(left, right, strict=True))


# ---------------------------------------------------------------- findings
def judge_in_order(rules: RuleBook, rows: np.ndarray) -> dict[str, Said]:
    """What an undisturbed worker would say: all passages in the order of their times, one judge, one state."""
    state = VehicleState()
    found: dict[object, Finding] = {}
    rows = rows[np.lexsort((rows["source_hash"], rows["observed_at"]))]
    for start in range(0, len(rows), JUDGED_AT_ONCE):
        for candidate in judge_batch(state, rules, rows[start : start + JUDGED_AT_ONCE]):
            _lay_over(found, candidate)
    return {str(finding.id): said_by(finding) for finding in found.values() if finding.state == "active"}


def _lay_over(found: dict[object, Finding], candidate: Candidate) -> None:
    who = finding_id(candidate.kind, candidate.plate_key, candidate.class_group, candidate.anchor)
    finding = fold(found.get(who), candidate, now_us=0)
    if finding is not None:
        found[who] = finding


def said_by(finding: Finding) -> Said:
    """The part of a finding that does not depend on when and in which steps it was made."""
    return Said(
        kind=finding.kind,
        plate_key=finding.plate_key,
        level=finding.level,
        count=finding.count,
        records=tuple(observation.record for observation in finding.observations),
        speed_kmh=finding.detail.get("section", {}).get("speed_kmh"),
    )


def compare_findings(wanted: Mapping[str, Said], found: Mapping[str, Said]) -> list[str]:
    """Active findings by id."""
    return [
        *lists("finding missing", (f"{who} {wanted[who]}" for who in wanted.keys() - found.keys())),
        *lists("finding that should not be", (f"{who} {found[who]}" for who in found.keys() - wanted.keys())),
        *lists(
            "finding says something else",
            (
                f"{who} {found[who]} instead of {said}"
                for who, said in wanted.items()
                if who in found and found[who] != said
            ),
        ),
    ]


# ---------------------------------------------------------------- the feed and its readers
def compare_feed(rows: Sequence[tuple[int, int]], ends: Mapping[int, int]) -> list[str]:
    """(partition, seq) of all rows: without holes up to where each partition stands."""
    by_partition: dict[int, list[int]] = {partition: [] for partition in ends}
    for partition, seq in rows:
        by_partition.setdefault(partition, []).append(seq)
    return lists(
        "feed with holes",
        (
            f"partition {partition}: {len(seqs)} rows, stands at {ends.get(partition)}"
            for partition, seqs in by_partition.items()
            if sorted(seqs) != list(range(1, ends.get(partition, 0) + 1))
        ),
    )


def compare_told(login: str, told: Sequence[Told], visible: Sequence[tuple[int, int, tuple[str, int]]]) -> list[str]:
    """Behind its first snapshot a client has seen every alert that it may see once, in the order of revisions.

    `visible`: (partition, seq, (finding, revision)) of the feed's alerts for this person.
    """
    if not told or told[0].kind != "snapshot":
        return [f"{login} never got a first snapshot"]
    begin = cursor_of(told[0].cursor)
    wanted = Counter(card for partition, seq, card in visible if seq > begin.get(partition, 0))
    seen = Counter(card for frame in told[1:] for card in frame.cards)
    again = [frame.cursor for frame in told[1:] if frame.kind == "snapshot"]
    newest: dict[str, int] = {}
    backwards = []
    for who, revision in (card for frame in told[1:] for card in frame.cards):
        if revision <= newest.get(who, 0):
            backwards.append(f"{who} {revision} after {newest[who]}")
        newest[who] = revision
    return [
        *lists(f"{login} got a snapshot instead of what it had missed, at", again),
        *lists(f"{login} was never told", (wanted - seen).elements()),
        *lists(f"{login} was told what it may not see, or twice", (seen - wanted).elements()),
        *lists(f"{login} was told out of order", backwards),
    ]


def cursor_of(text: str) -> dict[int, int]:
    """The places of a cursor by partition."""
    _, _, places = text.partition("|")
    return {int(p): int(seq) for p, seq in (place.split(":") for place in places.split(",") if place)}
