"""Which sensors can be trusted, and what a detector reported."""

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from dashboards.api.errors import NotFound
from dashboards.api.scope import AreaOf, Id, first, rows
from dashboards.api.shapes import DetectorDetail, DetectorFacts, LaneHealth, LaneSeries, Row, SensorRow, Sensors
from dashboards.auth import CurrentActor, DepsOf

router = APIRouter(prefix="/api", tags=["sensors"])
SERIES = timedelta(minutes=30)


@router.get("/sensors")
async def list_sensors(
    actor: CurrentActor,
    deps: DepsOf,
    state: Annotated[Literal["ok", "suspect", "failed", "silent", "bad", "all"], Query(description="bad: not ok")] = (
        "bad"
    ),
    limit: Annotated[int, Query(ge=1, le=2000)] = 500,
) -> Sensors:
    """Sensors of the viewer's area with their health."""
    async with deps.reach.as_viewer(actor.viewer, one_moment=True) as connection:
        found = await rows(connection, "sensors", {"state": state, "limit": limit})
        counts = {row["state"]: row["count"] for row in await rows(connection, "sensor_counts", {})}
    counted = {"ok": 0, "suspect": 0, "failed": 0, "silent": 0} | counts
    return Sensors(sensors=[SensorRow(**row) for row in found], counts=counted)  # type: ignore[arg-type]


@router.get("/detectors/{id}")
async def get_detector(id: Id, area: AreaOf, deps: DepsOf) -> DetectorDetail:
    """One detector: where it stands, the health of its lanes, and their reports of the last 30 minutes."""
    now = deps.settings.clock.now()
    async with deps.reach.as_viewer(area.actor.viewer, one_moment=True) as connection:
        facts = await first(connection, "detector_facts", {"id": id, "below": area.below})
        if facts is None:
            raise NotFound("there is no such detector, or it is not your unit's")
        health = await rows(connection, "detector_health", {"id": id})
        reports = await rows(connection, "detector_reports", {"id": id, "since": now - SERIES, "at": now})
    lanes: dict[int, list[Row]] = {}
    for row in reports:
        row_of_lane: Row = [row["at"], row["vehicles"], row["occupancy"], row["speed_kmh"], row["heavy"]]
        lanes.setdefault(row["lane"], []).append(row_of_lane)
    return DetectorDetail(
        detector=DetectorFacts(**facts),
        health=[LaneHealth(**row) for row in health],
        lanes=[LaneSeries(lane=lane, series=series) for lane, series in lanes.items()],
    )
