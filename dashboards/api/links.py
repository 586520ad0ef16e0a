"""A link: how it stands, why, by which sensors, and how it was in the last hour."""

from datetime import datetime, timedelta
from typing import Any

import psycopg
from fastapi import APIRouter

from dashboards.api.errors import NotFound
from dashboards.api.scope import Area, AreaOf, Id, first, is_old, rows
from dashboards.api.shapes import LinkDetail, LinkFacts, LinkNow, LinkRisk, RiskFactor, SensorOnLink, Usual
from dashboards.auth import DepsOf
from dashboards.topics.links import CYCLE_US
from traffic.roads.model import Source

router = APIRouter(prefix="/api", tags=["roads"])
SERIES = timedelta(minutes=60)
WEEKS_USUAL = 4  # the same quarter of an hour in so many weeks before
_STATE = (
    "cycle_at", "observed_at", "level", "speed_kmh", "flow_vph", "density_vkm", "travel_s", "travel_p90_s",
    "heavy_share", "confidence",
)  # fmt: skip


@router.get("/links/{id}")
async def get_link(id: Id, area: AreaOf, deps: DepsOf) -> LinkDetail:
    """One link: state, grounds, risk with what makes it, sensors with their health, and the last 60 minutes."""
    now, now_us = deps.settings.clock.now(), deps.settings.clock.now_us()
    async with deps.reach.as_viewer(area.actor.viewer, one_moment=True) as connection:
        facts = await first(connection, "link_facts", {"id": id, "below": area.below})
        if facts is None:
            raise NotFound("there is no such link, or it is not your unit's")
        state = await first(connection, "link_state", {"id": id})
        series = await rows(connection, "link_series", {"id": id, "since": now - SERIES, "at": now})
        usual = await first(connection, "link_usual", {"id": id, "quarters": _quarters(now), "at": now})
        sensors = await _sensors(connection, id, area)
    known = state is not None and state["cycle_at"] > now_us - CYCLE_US and not is_old(state["observed_at"], now_us)
    grounds: dict[str, Any] = state["grounds"] if state and known else {}
    return LinkDetail(
        link=LinkFacts(**facts),
        state=_state(state, known) if state else None,
        risk=_risk(state if known else None, grounds),
        grounds=grounds,
        sensors=sensors,
        series=[[row["at"], row["speed_kmh"], row["flow_vph"], row["travel_s"]] for row in series],
        usual=Usual(**usual) if usual and usual["speed_kmh"] is not None else None,
    )


def _quarters(now: datetime) -> list[datetime]:
    begin = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)
    return [begin - timedelta(weeks=weeks) for weeks in range(1, WEEKS_USUAL + 1)]


def _state(row: dict[str, Any], known: bool) -> LinkNow:
    """What is too old is shown as unknown, as on the live view."""
    if not known:
        row = {**dict.fromkeys(_STATE), "cycle_at": row["cycle_at"], "level": 0, "confidence": 0.0, "sources": 0}
    sources = [str(source.name).lower() for source in Source if row["sources"] & source]
    return LinkNow.model_validate({name: row[name] for name in _STATE} | {"sources": sources})


def _risk(row: dict[str, Any] | None, grounds: dict[str, Any]) -> LinkRisk:
    if row is None:
        return LinkRisk(level=0, score=None, next_level=0, next_score=None, factors=[])
    parts = grounds.get("risk") or {}
    now, later = parts.get("now") or {}, parts.get("next") or {}
    factors = [RiskFactor(factor=name, now=now.get(name, 0.0), next=later.get(name)) for name in {**now, **later}]
    factors.sort(key=lambda factor: -max(factor.now, factor.next or 0.0))
    return LinkRisk(
        level=row["risk_level"],
        score=row["risk"],
        next_level=row["risk_next_level"],
        next_score=row["risk_next"],
        factors=factors,
    )


async def _sensors(connection: psycopg.AsyncConnection, link: int, area: Area) -> list[SensorOnLink]:
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for row in await rows(connection, "link_sensors", {"id": link, "below": area.below}):
        lane = {key: row.pop(key) for key in ("lane", "state", "reason", "trust", "since", "detail")}
        sensor = found.setdefault((row["kind"], row["id"]), {**row, "lanes": []})
        if lane["lane"] is not None:
            sensor["lanes"].append(lane)
    return [SensorOnLink(**sensor) for sensor in found.values()]
