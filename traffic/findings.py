"""Findings: what a rule says about a vehicle, and how it grows, is corrected and is retracted.

A rule yields candidates; `fold` lays a candidate over the stored finding of the same identity. It is pure: the same
observations again change nothing, and within the lateness any order of arrival ends in the same finding.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Literal
from uuid import UUID

from msgspec import json

from traffic.audience import Audience
from traffic.limits import OBSERVATIONS_IN_FINDING_MAX

WATCH_HIT, SECTION_SPEED, CLONED_PLATE = "watch_hit", "section_speed", "cloned_plate"
DRIVING_TIME, NIGHT_RUNNING, BAN, ROUTE_DEVIATION = "driving_time", "night_running", "ban", "route_deviation"
OVERSPEED, OVERDUE_ARRIVAL, LONG_STOP, GEOFENCE = "overspeed", "overdue_arrival", "long_stop", "geofence"
REGISTRY_STATE, DEVICE_ALARM, POSITION_MISMATCH = "registry_state", "device_alarm", "position_mismatch"
KINDS = (
    WATCH_HIT, SECTION_SPEED, CLONED_PLATE, DRIVING_TIME, NIGHT_RUNNING, BAN, ROUTE_DEVIATION, OVERSPEED,
    OVERDUE_ARRIVAL, LONG_STOP, GEOFENCE, REGISTRY_STATE, DEVICE_ALARM, POSITION_MISMATCH,
)  # fmt: skip


# What a revision did to its finding: raised it, saw it again, moved or refuted it by late data; what people did to it.
Change = Literal["new", "updated", "corrected", "retracted", "verified", "shelved", "unshelved"]
State = Literal["active", "retracted"]

# How a plate that was read fits a watch-list entry, the surest first.
EXACT, CLASS_UNCERTAIN, WILDCARD, MISREAD = "exact", "class_uncertain", "wildcard", "misread"
MATCHES = (EXACT, CLASS_UNCERTAIN, WILDCARD, MISREAD)
LOOKED_AT_FIRST = frozenset((CLONED_PLATE, POSITION_MISMATCH))  # kinds that mean nothing before a person has looked
GRAVEST = 1  # level whose every finding a person looks at before anything is ordered


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The rule that speaks, in the version that was used; `clause` is the norm or order that it stands on."""

    id: int
    version: int
    name: str
    clause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A record as evidence, copied because records are not kept for ever. `at`: microseconds UTC.

    `checkpoint` 0: not a passage. `lon`, `lat` (WGS-84) and `stake` ("G1 K1023+500") say where a position or alarm was.
    """

    at: int
    checkpoint: int
    direction: int
    lane: int
    speed_kmh: float | None
    record: str  # identity of the record, see record_id
    source: Literal["passage", "position", "alarm", "silence"] = "passage"
    lon: float | None = None
    lat: float | None = None
    stake: str | None = None

    @property
    def order(self) -> tuple[int, str]:
        """Event time, and a tie-break that does not depend on the order of arrival."""
        return self.at, self.record


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a person found who compared picture and plate. `reads`: the readings that were judged, where they tell.

    `counted`: what it says of checkpoints, as (checkpoint, day, valid, misread), so that another verdict can undo it.
    """

    verdict: Literal["valid", "false"]
    reason: str
    by: str
    unit: int
    at: int
    revision: int  # of the finding, which the person had before them
    reads: tuple[str, ...] = ()
    counted: tuple[tuple[int, str, int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """A person put the finding aside until then (microseconds)."""

    reason: str
    until: int
    by: str
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What a rule says now about one vehicle. `active` False takes back what was said before, because of `cause`."""

    kind: str
    plate_key: int
    class_group: int
    anchor: str  # of the episode: the watch-list entry's number, or section and exit record
    level: int  # 1 gravest .. 4
    confidence: float
    rule: Rule
    observations: tuple[Observation, ...]
    detail: dict[str, Any]
    audience: Audience
    active: bool = True
    cause: dict[str, Any] | None = None
    grows: bool = False  # further observations are added; else what is said now takes the place of before
    via: int | None = None  # vehicle key of the records it rests on, where a misread one is another than its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A finding as stored. `observations`: the first and the newest, at most OBSERVATIONS_IN_FINDING_MAX, by time."""

    id: UUID
    kind: str
    plate_key: int
    class_group: int
    anchor: str
    revision: int
    change: Change
    state: State
    level: int
    rule_id: int
    rule_version: int
    rule_name: str
    clause: str
    confidence: float
    first_at: int
    observed_at: int
    raised_at: int
    count: int  # of all its observations, also those no longer kept here
    observations: tuple[Observation, ...]
    audience: Audience
    detail: dict[str, Any] = field(default_factory=dict)
    cause: dict[str, Any] | None = None
    verification: Verification | None = None
    shelf: Shelf | None = None


def record_id(observed_at: int, source_hash: int) -> str:
    """The identity of a passage as text."""
    return f"{observed_at}:{source_hash}"


def finding_id(kind: str, plate_key: int, class_group: int, anchor: str) -> UUID:
    """Identity by what is said of whom in which episode; not by the rule's version: a new one finds it again."""
    text = f"{kind}\0{plate_key}\0{class_group}\0{anchor}"
    return UUID(bytes=blake2b(text.encode(), digest_size=16).digest())


def fold(existing: Finding | None, candidate: Candidate, *, now_us: int) -> Finding | None:
    """The finding after this candidate, one revision on; None when the candidate changes nothing."""
    if candidate.active and (candidate.grows or candidate.kind == WATCH_HIT):
        return _fold_sightings(existing, candidate, now_us)
    return _fold_judgement(existing, candidate, now_us)


def _fold_sightings(existing: Finding | None, candidate: Candidate, now_us: int) -> Finding | None:
    """Repeated sightings of one vehicle under one entry: observations are united by record.

    Only the first and the newest are kept, so a sighting older than all kept newest ones may be one that was counted
    and dropped: it is taken as such. Counting is thus exact as long as fewer than OBSERVATIONS_IN_FINDING_MAX
    sightings of a vehicle under one entry lie within the lateness and the look-back.
    """
    if existing is None:
        observations = _by_time(candidate.observations)
        return _first(candidate, _kept(observations), len(observations), now_us) if observations else None
    kept = existing.observations
    known = {observation.record for observation in kept}
    dropped = existing.count > len(kept)
    fresh = [
        observation
        for observation in _by_time(candidate.observations)
        if observation.record not in known and not (dropped and observation.order < kept[1].order)
    ]
    if not fresh:
        return None
    observations = _by_time((*kept, *fresh))
    newer = candidate if _versions(candidate.detail, candidate.rule.version) >= _versions_of(existing) else None
    revised = replace(
        existing if newer is None else _spoken_by(existing, newer),
        revision=existing.revision + 1,
        change="updated",
        state="active",
        raised_at=now_us,
        confidence=max(existing.confidence, candidate.confidence),
        count=existing.count + len(fresh),
        observations=_kept(observations),
        first_at=observations[0].at,
        observed_at=observations[-1].at,
        cause=None,
    )
    return replace(
        revised,
        detail=_with_match(revised.detail, existing.detail.get("match"), candidate.detail.get("match")),
        audience=_widened(revised.audience, existing.audience, candidate.audience),
        verification=existing.verification if _is_judged(existing, candidate) else None,
    )


def _with_match(detail: dict[str, Any], *matches: dict[str, Any] | None) -> dict[str, Any]:
    """The detail with the surest way in which the plate fits, and every reading with its highest probability."""
    said = [match for match in matches if match]
    if not said:
        return detail
    reads: dict[str, float] = {}
    for match in said:
        for read, probability in match["reads"].items():
            reads[read] = max(probability, reads.get(read, 0.0))
    how = min((match["how"] for match in said), key=MATCHES.index)
    together = {"how": how, "probability": max(reads.values()), "reads": dict(sorted(reads.items()))}
    return {**detail, "match": together}


def _is_judged(existing: Finding, candidate: Candidate) -> bool:
    """Whether the verdict speaks of the candidate's sightings too.

    A vehicle that was found to be another one than the watched stays that as long as it is read as it was then; the
    watched plate itself is looked at anew each time.
    """
    found = existing.verification
    if found is None or found.verdict == "valid":
        return True
    match = candidate.detail.get("match")
    return match is not None and match["how"] in (WILDCARD, MISREAD) and set(match["reads"]) <= set(found.reads)


def _fold_judgement(existing: Finding | None, candidate: Candidate, now_us: int) -> Finding | None:
    """A judgement on a pair of passages: raised, moved by late data, taken back, raised again."""
    if existing is None:
        if not candidate.active:
            return None
        observations = _by_time(candidate.observations)
        return _first(candidate, observations, len(observations), now_us)
    stands = existing.state == "active"
    if not candidate.active:
        if not stands:
            return None
        return replace(
            existing,
            revision=existing.revision + 1,
            change="retracted",
            state="retracted",
            raised_at=now_us,
            cause=candidate.cause,
        )
    observations = _by_time(candidate.observations)
    if stands and _says_the_same(existing, candidate, observations):
        return None
    return replace(
        _spoken_by(existing, candidate),
        revision=existing.revision + 1,
        change="updated" if stands and candidate.cause is None else "corrected",
        state="active",
        raised_at=now_us,
        count=len(observations),
        observations=observations,
        first_at=observations[0].at,
        observed_at=observations[-1].at,
        cause=candidate.cause,
        audience=_widened(candidate.audience, existing.audience, candidate.audience),
    )


def _says_the_same(existing: Finding, candidate: Candidate, observations: tuple[Observation, ...]) -> bool:
    """Whether records and words are those of before; how far the sensors are trusted now is no news."""
    if [o.record for o in observations] != [o.record for o in existing.observations]:
        return False
    return existing.level == candidate.level and _words(existing.detail) == _words(candidate.detail)


def _words(detail: dict[str, Any]) -> Any:
    """A detail as it is stored and read again, without the trust that was stated with it."""
    return json.decode(json.encode({name: part for name, part in detail.items() if name != "trust"}))


def _first(candidate: Candidate, observations: tuple[Observation, ...], count: int, now_us: int) -> Finding:
    return Finding(
        id=finding_id(candidate.kind, candidate.plate_key, candidate.class_group, candidate.anchor),
        kind=candidate.kind,
        plate_key=candidate.plate_key,
        class_group=candidate.class_group,
        anchor=candidate.anchor,
        revision=1,
        change="new",
        state="active",
        level=candidate.level,
        rule_id=candidate.rule.id,
        rule_version=candidate.rule.version,
        rule_name=candidate.rule.name,
        clause=candidate.rule.clause,
        confidence=candidate.confidence,
        first_at=observations[0].at,
        observed_at=observations[-1].at,
        raised_at=now_us,
        count=count,
        observations=observations,
        audience=candidate.audience,
        detail=candidate.detail,
        cause=candidate.cause,
    )


def _spoken_by(existing: Finding, candidate: Candidate) -> Finding:
    """The same finding in the words of the candidate's rule and detail."""
    return replace(
        existing,
        level=candidate.level,
        rule_id=candidate.rule.id,
        rule_version=candidate.rule.version,
        rule_name=candidate.rule.name,
        clause=candidate.rule.clause,
        confidence=candidate.confidence,
        detail=candidate.detail,
        audience=candidate.audience,
    )


def _versions(detail: dict[str, Any], rule_version: int) -> tuple[int, int]:
    return detail.get("entry", {}).get("version", 0), rule_version


def _versions_of(finding: Finding) -> tuple[int, int]:
    return _versions(finding.detail, finding.rule_version)


def _by_time(observations: Iterable[Observation]) -> tuple[Observation, ...]:
    """Sorted by event time, each record once (the copy that came first stays)."""
    once: dict[str, Observation] = {}
    for observation in observations:
        once.setdefault(observation.record, observation)
    return tuple(sorted(once.values(), key=lambda observation: observation.order))


def _kept(observations: tuple[Observation, ...]) -> tuple[Observation, ...]:
    if len(observations) <= OBSERVATIONS_IN_FINDING_MAX:
        return observations
    return observations[:1] + observations[1 - OBSERVATIONS_IN_FINDING_MAX :]


def _widened(speaking: Audience, *parts: Audience) -> Audience:
    """Who saw an earlier revision sees the later ones too; secrecy is that of the part that speaks."""
    units = frozenset().union(*(part.units for part in parts))
    return Audience(units=units, visibility=speaking.visibility, addressees=speaking.addressees)


def needs_verification(finding: Finding) -> bool:
    """Whether a person must look at it before anything is ordered on it."""
    if finding.verification is not None or finding.state != "active":
        return False
    how = finding.detail.get("match", {}).get("how")
    return finding.level == GRAVEST or finding.kind in LOOKED_AT_FIRST or how in (WILDCARD, MISREAD)


def card(finding: Finding, plate_text: str) -> dict[str, Any]:
    """The finding as readers get it (feed and API); times are integer microseconds UTC.

    Of `trust` (what is known of its sensors) a card tells the lowest; null where nothing is known of them.
    """
    detail = {
        name: {key: value for key, value in part.items() if key != "version"}
        for name, part in finding.detail.items()
        if name != "trust"
    }
    verification, shelf = finding.verification, finding.shelf
    return {
        "id": str(finding.id),
        "kind": finding.kind,
        "revision": finding.revision,
        "change": finding.change,
        "state": finding.state,
        "level": finding.level,
        "plate": plate_text,
        "plate_class_group": finding.class_group,
        "rule": {
            "id": finding.rule_id,
            "version": finding.rule_version,
            "name": finding.rule_name,
            "clause": finding.clause,
        },
        "confidence": finding.confidence,
        "trust": finding.detail.get("trust", {}).get("lowest"),
        "first_at": finding.first_at,
        "observed_at": finding.observed_at,
        "raised_at": finding.raised_at,
        "count": finding.count,
        "observations": [_shown(observation) for observation in finding.observations],
        **detail,
        "verification": verification
        and {name: getattr(verification, name) for name in ("verdict", "reason", "by", "at")},
        "shelf": shelf and {name: getattr(shelf, name) for name in ("reason", "until", "by")},
        "needs_verification": needs_verification(finding),
        "cause": finding.cause,
    }


def _shown(observation: Observation) -> dict[str, Any]:
    """An observation on a card; where it was is told of those that no checkpoint made."""
    shown = {
        "at": observation.at,
        "checkpoint": observation.checkpoint,
        "direction": observation.direction,
        "lane": observation.lane,
        "speed_kmh": observation.speed_kmh,
        "record": observation.record,
    }
    if observation.source == "passage":
        return shown
    place = {"lon": observation.lon, "lat": observation.lat, "stake": observation.stake}
    return {**shown, "source": observation.source, **place}
