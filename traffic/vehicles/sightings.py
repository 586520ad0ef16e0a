"""What rules share that speak of each sighting by itself: one finding for each vehicle, rule and local day; it grows.

Such a rule holds no state, so the order of arrival is no matter; what its finding says depends on the day alone.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from traffic.audience import Audience
from traffic.findings import Candidate, Observation, record_id
from traffic.network import stake_text
from traffic.plates import CLASS_UNCERTAIN
from traffic.vehicles.permits import NO_PERMITS
from traffic.vehicles.schedule import day_text, local_days
from traffic.vehicles.terms import RuleTerms, Vehicles

if TYPE_CHECKING:
    from traffic.vehicles.rules import RuleBook

CONFIDENCE = 0.95  # one camera read the plate, or the vehicle's own terminal spoke
CONFIDENCE_CLASS_UNCERTAIN = 0.8  # the number can exist on two classes, and the registered one is meant
_GROUP_BITS = 7

Seen = tuple[Observation, frozenset[int]]  # with the units that see it


def in_scope(terms: RuleTerms, rows: np.ndarray, vehicles: Vehicles, among: np.ndarray) -> np.ndarray:
    """Which of the PASSAGE rows (numbers `among`) the rule speaks of: scope, schedule, lateness; the exempt stay in.

    The cheap looks that throw out most come first.
    """
    for mask in (
        lambda at: terms.concerns(vehicles.take(at)),
        lambda at: terms.in_force(rows["observed_at"][at]),
        lambda at: terms.checkpoint_mask(rows["checkpoint"][at], rows["direction"][at]),
        lambda at: terms.on_time(rows[at]),
    ):
        if not len(among):
            break
        among = among[mask(among)]
    return among


def not_exempt(
    terms: RuleTerms, rows: np.ndarray, vehicles: Vehicles, book: "RuleBook", among: np.ndarray
) -> np.ndarray:
    """Those of the PASSAGE rows whose vehicle no exemption and no permit in force covers."""
    if not len(among):
        return among
    places = terms.ground.places(rows["checkpoint"][among], rows["direction"][among])
    times_us = rows["observed_at"][among]
    return among[~terms.exempt(vehicles.take(among), times_us, places, book.permits or NO_PERMITS)]


def passages_seen(book: "RuleBook", rows: np.ndarray) -> list[Seen]:
    """PASSAGE rows as evidence; whole columns at once, because the fields of single rows are slow to read."""
    columns = (rows[name].tolist() for name in ("observed_at", "checkpoint", "direction", "lane", "source_hash"))
    speeds = np.where(np.isfinite(rows["speed_kmh"]), rows["speed_kmh"].astype(np.float64), np.nan).round(1).tolist()
    return [
        (
            Observation(
                at=at,
                checkpoint=checkpoint,
                direction=direction,
                lane=lane,
                speed_kmh=speed if speed == speed else None,
                record=record_id(at, source),
            ),
            book.audience_of_checkpoint.get(checkpoint, book.everywhere),
        )
        for at, checkpoint, direction, lane, source, speed in zip(*columns, speeds, strict=True)
    ]


def passage_seen(book: "RuleBook", row: np.void) -> Seen:
    """One PASSAGE row as evidence."""
    return passages_seen(book, np.array([row], row.dtype))[0]


def position_seen(book: "RuleBook", row: np.void, place: np.void) -> Seen:
    """A POSITION row with its PLACE as evidence; it is for the owner of the road, off the roads for the top unit."""
    speed = float(row["speed_kmh"])
    road = book.checkpoints.road_codes.get(int(place["road"]))
    observation = Observation(
        at=int(row["observed_at"]),
        checkpoint=0,
        direction=int(place["direction"]),
        lane=0,
        speed_kmh=round(speed, 1) if np.isfinite(speed) else None,
        record=f"position:{int(row['observed_at'])}",
        source="position",
        lon=round(float(row["lon"]), 6),
        lat=round(float(row["lat"]), 6),
        stake=f"{road} {stake_text(max(0, int(place['stake_m'])))}" if road else None,
    )
    return observation, book.audience_of_unit.get(int(place["unit"]), book.everywhere)


def by_vehicle_and_day(keys: np.ndarray, times_us: np.ndarray) -> dict[tuple[int, int], list[int]]:
    """Row numbers of each (vehicle key, local day), in the order of vehicles, days and times."""
    days = local_days(times_us)
    together: dict[tuple[int, int], list[int]] = defaultdict(list)
    for at in np.lexsort((times_us, days, keys)).tolist():
        together[int(keys[at]), int(days[at])].append(at)
    return together


def candidate(
    book: "RuleBook",
    terms: RuleTerms,
    vehicle_day: tuple[int, int],
    seen: Sequence[Seen],
    detail: dict[str, Any],
    level: int,
) -> Candidate:
    """The rule's word about one vehicle (key) on one day; its own `detail` and `level` depend on these alone."""
    key, day = vehicle_day
    certain = key & _GROUP_BITS != CLASS_UNCERTAIN
    checkpoints = sorted({observation.checkpoint for observation, _ in seen if observation.checkpoint})
    return Candidate(
        kind=terms.kind,
        plate_key=key >> 3,
        class_group=key & _GROUP_BITS,
        anchor=f"{terms.id}:{day_text(day)}",
        level=terms.level or level,
        confidence=book.trusted(CONFIDENCE if certain else CONFIDENCE_CLASS_UNCERTAIN, checkpoints),
        rule=terms.rule,
        observations=tuple(observation for observation, _ in seen),
        detail={terms.kind: detail},
        audience=Audience(units=frozenset().union(*(units for _, units in seen))),
        grows=True,
    )
