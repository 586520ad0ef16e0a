"""What a cycle says, as tables keep it and screens are told it: rounded, and only where it changed. Pure.

Link states are rows of `LINK_SAID`; a row's bytes are equal exactly where the same is said again.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np

from traffic.roads.model import (
    HealthChange,
    Index,
    Picture,
    RiskPicture,
    RoadEvent,
    RoadNetwork,
    SensorKind,
    Sensors,
    Turn,
)

# What screens are told comes first, then what only the table keeps.
LINK_SAID = np.dtype(
    [
        ("observed", "<i8"),
        ("level", "<i2"),
        ("risk_level", "<i2"),
        ("risk_next_level", "<i2"),
        ("speed", "<f4"),
        ("flow", "<f4"),
        ("density", "<f4"),
        ("travel", "<f4"),
        ("p90", "<f4"),
        ("confidence", "<f4"),
        ("heavy", "<f4"),
        ("risk", "<f4"),
        ("risk_next", "<f4"),
        ("sources", "<i2"),
    ]
)
_TOLD_BYTES = int(LINK_SAID.fields["heavy"][1])  # type: ignore[index]
_DIGITS = {
    "speed": 1, "flow": 0, "density": 1, "travel": 0, "p90": 0, "confidence": 2, "heavy": 2, "risk": 2, "risk_next": 2,
}  # fmt: skip
_PART_MIN = 0.005  # a smaller contribution of a factor is not worth a word


def links_said(picture: Picture, risk: RiskPicture) -> np.ndarray:
    """Every link's state as LINK_SAID, in the network's order."""
    rows = np.zeros(len(picture.level), LINK_SAID)
    values = {
        "observed": picture.observed_us,
        "level": picture.level,
        "risk_level": risk.now_level,
        "risk_next_level": risk.next_level,
        "speed": picture.speed_kmh,
        "flow": picture.flow_vph,
        "density": picture.density_vkm,
        "travel": picture.travel_s,
        "p90": picture.travel_p90_s,
        "confidence": np.nan_to_num(picture.confidence),
        "heavy": picture.heavy_share,
        "risk": risk.now,
        "risk_next": risk.next_hour,
        "sources": picture.sources,
    }
    for name, value in values.items():
        rows[name] = rounded(value, _DIGITS[name]) if name in _DIGITS else value
    return rows


def rounded(values: np.ndarray, digits: int) -> np.ndarray:
    """To so many digits, as float32 with one kind of zero and one kind of "not known" (endless ones are not known)."""
    told = np.where(np.isfinite(values), values, np.nan)
    return np.where(np.isnan(told), np.float32("nan"), np.round(told, digits).astype(np.float32) + np.float32(0.0))


def changed_links(said: np.ndarray, before: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Rows that say something else than before: (for the table, for screens). None: nothing was said before."""
    if before is None:
        every = np.arange(len(said))
        return every, every
    differs = _bytes(said) != _bytes(before)
    return np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs[:, :_TOLD_BYTES].any(axis=1))


def _bytes(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), LINK_SAID.itemsize)


def said_of_table(network: RoadNetwork, table: Iterable[tuple]) -> np.ndarray:
    """What was last said of each link, from rows (link id, then LINK_SAID's columns in the table's order)."""
    names = (
        "observed", "level", "speed", "flow", "density", "travel", "p90", "heavy", "confidence", "sources", "risk",
        "risk_level", "risk_next", "risk_next_level",
    )  # fmt: skip
    said = np.zeros(len(network), LINK_SAID)
    said["level"] = -1  # nothing was said of it yet
    rows = list(table)
    places = network.rows_of(np.array([row[0] for row in rows], np.int64))
    for place, (_, *values) in zip(places.tolist(), rows, strict=True):
        if place >= 0:
            for name, value in zip(names, values, strict=True):
                said[name][place] = (np.nan if name in _DIGITS else 0) if value is None else value
    for name in _DIGITS:
        said[name] = rounded(said[name], _DIGITS[name])
    return said


def link_items(network: RoadNetwork, said: np.ndarray, rows: np.ndarray) -> list[list]:
    """Links as screens are told them (see the feed's rows of kind `links`)."""
    some = said[rows]
    columns = [
        network.ids[rows].tolist(),
        some["level"].tolist(),
        *(_told(some, name) for name in ("speed", "flow", "density", "travel", "p90", "confidence")),
        [observed or None for observed in some["observed"].tolist()],
        some["risk_level"].tolist(),
        some["risk_next_level"].tolist(),
    ]
    return [list(item) for item in zip(*columns, strict=True)]


def _told(rows: np.ndarray, name: str) -> list[float | int | None]:
    digits = _DIGITS[name]
    values = rows[name].astype(np.float64).tolist()
    if digits == 0:
        return [None if value != value else int(value) for value in values]
    return [None if value != value else round(value, digits) for value in values]


def grounds_of(sensors: Sensors, turn: Turn, rows: np.ndarray) -> list[str]:
    """What each of these links' state and risk rest on, as JSON."""
    first = np.searchsorted(sensors.link, rows, "left").tolist()
    last = np.searchsorted(sensors.link, rows, "right").tolist()
    kinds, ids, directions = sensors.kind.tolist(), sensors.id.tolist(), sensors.direction.tolist()
    trust = np.round(np.nan_to_num(turn.window.trust), 2).tolist()
    now, later = turn.risk.now_parts[rows], turn.risk.next_parts[rows]
    found = []
    for place, (begin, end) in enumerate(zip(first, last, strict=True)):
        points = [
            {
                "kind": SensorKind(kinds[n]).name.lower(),
                "id": ids[n],
                "direction": directions[n],
                "trust": trust[n],
            }
            for n in range(begin, end)
        ]
        risk = {
            "now": _parts(turn.risk.factors, now[place].tolist()),
            "next": _parts(turn.risk.factors, later[place].tolist()),
        }
        found.append(msgspec.json.encode({"sensors": points, "risk": risk}).decode())
    return found


def _parts(factors: tuple[str, ...], values: list[float]) -> dict[str, float]:
    return {factor: round(value, 3) for factor, value in zip(factors, values, strict=True) if abs(value) >= _PART_MIN}


# ---------------------------------------------------------------- events, sensors, indices
def event_card(event: RoadEvent) -> dict[str, Any]:
    """An event as screens are told it; times in microseconds."""
    return {
        "id": str(event.id),
        "kind": str(event.kind),
        "state": event.state,
        "level": event.level,
        "revision": event.revision,
        "link": event.link,
        "road": event.road,
        "direction": event.direction,
        "head_stake_m": event.head_stake_m,
        "tail_stake_m": event.tail_stake_m,
        "unit": event.unit,
        "started_at": event.started_us,
        "changed_at": event.changed_us,
        "ended_at": event.ended_us,
        "observed_at": event.observed_us,
        "confidence": round(event.confidence, 2),
        "change": event.change,
        "grounds": dict(event.grounds),
    }


def sensor_key(change: HealthChange) -> str:
    """kind:id:lane."""
    return f"{SensorKind(change.kind).name.lower()}:{change.id}:{change.lane}"


def sensor_body(change: HealthChange) -> dict[str, Any]:
    """A sensor's health as screens are told it."""
    return {
        "kind": SensorKind(change.kind).name.lower(),
        "id": change.id,
        "lane": change.lane,
        "state": change.state,
        "reason": change.reason,
        "trust": round(change.trust, 2),
        "since": change.since_us,
        "detail": dict(change.detail),
    }


def index_values(index: Index) -> dict[str, Any]:
    """An index as it is said, rounded."""
    return {
        "scope": index.scope,
        "id": index.scope_id,
        "index": _round(index.index, 2),
        "usual": _round(index.usual_index, 2),
        "speed_kmh": _round(index.speed_kmh, 1),
        "congested_km": round(index.congested_km, 1),
        "known_share": round(index.known_share, 3),
        "vehicle_km_h": _round(index.vehicle_km_h, 0),
        "risk_links": list(index.risk_links),
    }


def index_of_table(row: Mapping[str, Any]) -> dict[str, Any]:
    """As `index_values`, from a row of table `road_index`."""
    return {
        "scope": row["scope"],
        "id": row["scope_id"],
        "index": _round(row["index"], 2),
        "usual": _round(row["usual_index"], 2),
        "speed_kmh": _round(row["speed_kmh"], 1),
        "congested_km": round(row["congested_km"], 1),
        "known_share": round(row["known_share"], 3),
        "vehicle_km_h": _round(row["vehicle_km_h"], 0),
        "risk_links": list(row["risk_links"]),
    }


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), digits)
