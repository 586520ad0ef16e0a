"""How something ran over hours and days, beside the same a week before."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import psycopg
from fastapi import APIRouter, Query

from dashboards.api.errors import NotFound, Wrong
from dashboards.api.scope import Area, AreaOf, first, rows
from dashboards.api.shapes import Row, Trend
from dashboards.auth import DepsOf

router = APIRouter(prefix="/api", tags=["trends"])
WEEK = timedelta(days=7)
HOURS_MAX = 24 * 366
# The finest width of which a series of so many hours has no more points than a screen can show.
WIDTHS = ((6, "minute", 60), (72, "quarter", 900), (24 * 31, "hour", 3600), (HOURS_MAX, "day", 86_400))

Scope = Literal["link", "checkpoint", "unit", "road", "province"]
_INDEX = ("index", "usual", "speed_kmh", "vehicle_km_h", "congested_km", "known_share")
_RISK = ("risk_1", "risk_2", "risk_3", "risk_4")
# Statement of each scope's metrics; a unit's passages are in another roll-up than its index.
METRICS: dict[str, dict[str, tuple[str, ...]]] = {
    "link": {
        "trend_link": (
            "speed_kmh", "flow_vph", "travel_s", "congested", "heavy_share", "risk", "risk_max", "confidence",
        ),
    },
    "checkpoint": {"trend_checkpoint": ("passages", "speed_kmh")},
    "unit": {"trend_index": (*_INDEX, *_RISK), "trend_unit": ("passages",)},
    "road": {"trend_index": (*_INDEX, *_RISK)},
    "province": {"trend_index": (*_INDEX, *_RISK)},
}  # fmt: skip


@router.get("/trend")
async def get_trend(
    area: AreaOf,
    deps: DepsOf,
    scope: Scope,
    metric: Annotated[str, Query(max_length=32)],
    id: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    hours: Annotated[int, Query(ge=1, le=HOURS_MAX)] = 24,
) -> Trend:
    """A series of one metric in buckets (1 minute to 1 day, by the length), and the same 7 days before."""
    statement = next((name for name, metrics in METRICS[scope].items() if metric in metrics), None)
    if statement is None:
        known = ", ".join(name for metrics in METRICS[scope].values() for name in metrics)
        raise Wrong("metric", f"of scope {scope} there is: {known}")
    width, bucket_s = next((name, seconds) for most, name, seconds in WIDTHS if hours <= most)
    now = deps.settings.clock.now()
    number = 0 if scope == "province" else id
    asked = {"scope": scope, "id": number, "width": width, "at": now}
    async with deps.reach.as_viewer(area.actor.viewer, one_moment=True) as connection:
        if not await _exists(connection, area, scope, id):
            raise NotFound(f"there is no such {scope}, or it is not your unit's")
        series = await _series(connection, statement, metric, asked, now - timedelta(hours=hours), now)
        before = await _series(connection, statement, metric, asked, now - timedelta(hours=hours) - WEEK, now - WEEK)
    return Trend(scope=scope, id=number, metric=metric, bucket_s=bucket_s, series=series, before=before)


async def _exists(connection: psycopg.AsyncConnection, area: Area, scope: str, id: int) -> bool:
    if scope == "province":
        return True
    if scope == "unit":
        return id in area.below
    if scope == "road":
        return await first(connection, "road_ref", {"id": id}) is not None
    return await first(connection, f"{scope}_facts", {"id": id, "below": area.below}) is not None


async def _series(
    connection: psycopg.AsyncConnection,
    statement: str,
    metric: str,
    asked: dict[str, Any],
    since: datetime,
    until: datetime,
) -> list[Row]:
    found = await rows(connection, statement, {**asked, "since": since, "until": until})
    return [[row["bucket_us"], row[metric]] for row in found]
