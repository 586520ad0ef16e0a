"""Bans (禁行): a vehicle that the rule means, at a place and a time that are closed to it, without exemption or permit.

Hazardous goods on expressways by night, lorries in a town by day, a school bus outside its permitted hours: which
vehicles, places and times are meant is the rule's data, so that all bans are one rule. Every sighting speaks by
itself; the sightings of one vehicle on one local day are one finding, which grows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from traffic.findings import BAN, Candidate
from traffic.positions import PlaceIndex
from traffic.road_readings import Subject
from traffic.roads.parameters import bounded, defaults_of, fill
from traffic.vehicles.permits import NO_PERMITS
from traffic.vehicles.registry import KINDS
from traffic.vehicles.sightings import (
    Seen,
    by_vehicle_and_day,
    candidate,
    in_scope,
    not_exempt,
    passages_seen,
    position_seen,
)
from traffic.vehicles.terms import RuleTerms, Vehicles

if TYPE_CHECKING:
    from traffic.vehicles.rules import RuleBook

LEVEL = 3
_MINUTE_US = 60_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BanParameters:
    """`position_every_min`: of positions, those of the first minute of every so many speak; 0: only cameras do."""

    position_every_min: int = bounded(10, 0, 60)


DEFAULTS = defaults_of(BanParameters)


def from_parameters(parameters: Mapping[str, Any]) -> BanParameters:
    """Raises SettingsError naming the parameter."""
    return fill(BAN, BanParameters, parameters)


def judge(book: "RuleBook", rows: np.ndarray, vehicles: Vehicles | None = None) -> list[Candidate]:
    """What the bans say of new PASSAGE rows; `vehicles`: of these rows, where the caller has them already."""
    bans = [terms for terms in book.terms if terms.kind == BAN]
    if not bans or not len(rows):
        return []
    seen = vehicles or Vehicles.of_passages(rows, book.registry)
    read, registered = np.flatnonzero(rows["plate_key"] != 0), np.flatnonzero(seen.row >= 0)
    said: list[Candidate] = []
    for terms in bans:
        at = in_scope(terms, rows, seen, registered if terms.registered_only else read)
        at = not_exempt(terms, rows, seen, book, at)
        said += _candidates(book, terms, seen.take(at), rows["observed_at"][at], passages_seen(book, rows[at]))
    return said


def judge_positions(book: "RuleBook", positions: np.ndarray) -> list[Candidate]:
    """What the bans say of POSITION rows of registered vehicles.

    A terminal speaks every few seconds: so that one night is no thousand revisions, only some of its words count, and
    which ones does not depend on the order of arrival.
    """
    bans = [terms for terms in book.terms if terms.kind == BAN and terms.parameters.position_every_min]
    said: list[Candidate] = []
    if not bans or book.places is None or not len(book.registry):
        return said
    minutes = positions["observed_at"] // _MINUTE_US
    for terms in bans:
        chosen = (positions["subject_kind"] == Subject.VEHICLE) & (minutes % terms.parameters.position_every_min == 0)
        rows = positions[chosen]
        rows = rows[terms.in_force(rows["observed_at"]) & terms.on_time(rows)]
        if len(rows):
            said += _of_positions(book, terms, rows, book.places)
    return said


def _of_positions(book: "RuleBook", terms: RuleTerms, rows: np.ndarray, index: PlaceIndex) -> list[Candidate]:
    """What one ban says of POSITION rows of its hours."""
    vehicles = Vehicles.of_keys(rows["subject"] << 3 | rows["class_group"], book.registry)
    meant = np.flatnonzero((vehicles.row >= 0) & terms.concerns(vehicles))
    rows, vehicles = rows[meant], vehicles.take(meant)
    places = index.find(rows["lon"], rows["lat"], rows["speed_kmh"], rows["bearing_deg"])
    banned = terms.on_place(places, rows["lon"], rows["lat"])
    banned &= ~terms.exempt(vehicles, rows["observed_at"], places, book.permits or NO_PERMITS)
    seen = [position_seen(book, rows[n], places[n]) for n in np.flatnonzero(banned)]
    return _candidates(book, terms, vehicles.take(banned), rows["observed_at"][banned], seen)


def _candidates(
    book: "RuleBook", terms: RuleTerms, vehicles: Vehicles, times_us: np.ndarray, seen: list[Seen]
) -> list[Candidate]:
    return [
        candidate(book, terms, vehicle_day, [seen[n] for n in numbers], _detail(terms, vehicles, numbers[0]), LEVEL)
        for vehicle_day, numbers in by_vehicle_and_day(vehicles.keys, times_us).items()
    ]


def _detail(terms: RuleTerms, vehicles: Vehicles, number: int) -> dict[str, Any]:
    row = int(vehicles.row[number])
    schedule = terms.schedule
    return {
        "vehicle_kind": KINDS[vehicles.registry.kind[row]] if row >= 0 else None,
        "hours": [[_hour(begin), _hour(end)] for begin, end in schedule.hours],
        "weekdays": sorted(schedule.weekdays),
        "holidays": schedule.holidays,
        "permits_asked": list(terms.exemptions.permits),
    }


def _hour(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"
