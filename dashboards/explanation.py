"""What a finding rests on, put together for people: its revisions as before and after, and its observations on a map.

Pure: rows of the tables come in, JSON values go out.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from traffic.findings import Finding
from traffic.geo import along, distance_m
from traffic.network import STAKES_DECREASE, STAKES_INCREASE

Row = Mapping[str, Any]
Point = tuple[float, float]
NOTICE = "线索，不作处罚证据"
# What a verdict keeps for its own undoing is no matter of readers.
_VERDICT = ("verdict", "reason", "by", "at", "revision")


# ---------------------------------------------------------------- revisions
def revisions(rows: Sequence[Row], *, limit: int) -> list[dict[str, Any]]:
    """Newest first, each with what the finding said before it and from it on; `rows` may hold one more than `limit`."""
    told = []
    for place, row in enumerate(rows[:limit]):
        earlier = rows[place + 1] if place + 1 < len(rows) else None
        cause = row["cause"] or {}
        told.append(
            {
                "revision": row["revision"],
                "change": row["change"],
                "raised_at": row["raised_at"],
                "cause": row["cause"],
                "by": cause.get("by"),
                "before": said(earlier["grounds"]) if earlier else None,
                "after": said(row["grounds"]),
            }
        )
    return told


def said(grounds: Row) -> dict[str, Any]:
    """What a revision says, without what its observations are in full."""
    verification, seen = grounds.get("verification"), grounds.get("observations", ())
    told = {
        "state": grounds.get("state"),
        "level": grounds.get("level"),
        "confidence": grounds.get("confidence"),
        "count": grounds.get("count"),
        "first_at": seen[0]["at"] if seen else None,
        "observed_at": seen[-1]["at"] if seen else None,
        "records": [one["record"] for one in seen],
        "rule": grounds.get("rule"),
        "verification": verification and {name: verification.get(name) for name in _VERDICT},
        "shelf": grounds.get("shelf"),
        **grounds.get("detail", {}),
    }
    return {name: value for name, value in told.items() if value is not None}


# ---------------------------------------------------------------- where it was
def observations(finding: Finding, gates: Mapping[int, Row]) -> list[dict[str, Any]]:
    """The finding's observations with their places, by time."""
    told = []
    for seen in finding.observations:
        gate = gates.get(seen.checkpoint)
        told.append(
            {
                "at": seen.at,
                "source": seen.source,
                "record": seen.record,
                "checkpoint": seen.checkpoint,
                "name": gate["name"] if gate else None,
                "name_en": gate["name_en"] if gate else None,
                "road": gate["road"] if gate else None,
                "stake_m": gate["stake_m"] if gate else None,
                "stake": seen.stake,
                "lon": gate["lon"] if gate and seen.lon is None else seen.lon,
                "lat": gate["lat"] if gate and seen.lat is None else seen.lat,
                "direction": seen.direction,
                "lane": seen.lane,
                "speed_kmh": seen.speed_kmh,
            }
        )
    return told


def stretch_of(finding: Finding, gates: Mapping[int, Row]) -> tuple[list[int], int, int]:
    """(roads, lowest, highest stake) that the finding's checkpoints span; links beyond are no matter."""
    here = [gates[seen.checkpoint] for seen in finding.observations if seen.checkpoint in gates]
    stakes = [gate["stake_m"] for gate in here]
    return sorted({gate["road_id"] for gate in here}), min(stakes, default=0), max(stakes, default=0)


def map_of(told: Sequence[Row], gates: Mapping[int, Row], links: Sequence[Row]) -> dict[str, Any]:
    """Points and, between two that follow each other, the road (kind `road`) or a straight line (`straight`)."""
    features = []
    placed = [one for one in told if one["lon"] is not None and one["lat"] is not None]
    for number, one in enumerate(placed, start=1):
        names = ("record", "at", "checkpoint", "source")
        features.append(
            _feature("Point", [one["lon"], one["lat"]], {"kind": "observation", "number": number} | _chosen(one, names))
        )
    for one, other in zip(placed, placed[1:], strict=False):
        begin, end = (one["lon"], one["lat"]), (other["lon"], other["lat"])
        if begin == end:
            continue
        way = _along_road(gates.get(one["checkpoint"]), gates.get(other["checkpoint"]), links)
        line = [begin, *way, end] if way else [begin, end]
        between = {"from": one["record"], "to": other["record"], "distance_m": round(distance_m(begin, end))}
        features.append(_feature("LineString", line, {"kind": "road" if way else "straight", **between}))
    return {"type": "FeatureCollection", "features": features}


def _chosen(one: Row, names: Iterable[str]) -> dict[str, Any]:
    return {name: one[name] for name in names}


def _feature(kind: str, coordinates: Any, properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def _along_road(one: Row | None, other: Row | None, links: Sequence[Row]) -> list[Point]:
    """The road's line from one checkpoint to the other, where both lie on it and its links have no hole."""
    if one is None or other is None or one["road_id"] != other["road_id"]:
        return []
    begin, end = one["stake_m"], other["stake_m"]
    direction = STAKES_INCREASE if begin <= end else STAKES_DECREASE
    low, high = min(begin, end), max(begin, end)
    parts, reached = [], low
    for link in links:
        if (link["road_id"], link["direction"]) != (one["road_id"], direction) or link["from_stake_m"] == link[
            "to_stake_m"
        ]:
            continue
        first, last = sorted((link["from_stake_m"], link["to_stake_m"]))
        if last <= reached or first >= high:
            continue
        if first > reached:
            return []
        parts.append(_cut(link, max(first, low), min(last, high)))
        reached = last
    if reached < high:
        return []
    if direction == STAKES_DECREASE:
        parts.reverse()
    return [point for part in parts for point in part]


def _cut(link: Row, low: int, high: int) -> list[Point]:
    """The link's line between two stakes, in the direction of travel."""
    begin, end = link["from_stake_m"], link["to_stake_m"]
    shares = sorted(((low - begin) / (end - begin), (high - begin) / (end - begin)))
    line = [(float(lon), float(lat)) for lon, lat in link["geometry"]]
    lengths = [0.0]
    for one, other in zip(line, line[1:], strict=False):
        lengths.append(lengths[-1] + distance_m(one, other))
    total = lengths[-1] or 1.0
    inner = [point for point, at in zip(line, lengths, strict=True) if shares[0] < at / total < shares[1]]
    return [along(line, shares[0])[0], *inner, along(line, shares[1])[0]]
