"""Weather and road works on the viewer's stretches."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from dashboards.api.scope import AreaOf, rows
from dashboards.api.shapes import RoadWork, RoadWorks, Weather, WeatherReports
from dashboards.auth import DepsOf

router = APIRouter(prefix="/api", tags=["conditions"])
ROWS_MAX = 2_000  # newest reports, or works that begin first


@router.get("/weather")
async def list_weather(area: AreaOf, deps: DepsOf) -> WeatherReports:
    """Reports in force on stretches of the viewer's area, and those that its own units sent."""
    values = {"now": deps.settings.clock.now(), "below": area.below, "limit": ROWS_MAX}
    async with deps.reach.as_viewer(area.actor.viewer) as connection:
        found = await rows(connection, "weather_in_force", values)
    return WeatherReports(reports=[Weather(**row) for row in found])


@router.get("/road-works")
async def list_works(
    area: AreaOf,
    deps: DepsOf,
    state: Annotated[
        Literal["planned", "active", "ended", "cancelled", "current"], Query(description="current: planned or active")
    ] = "current",
) -> RoadWorks:
    """Works on stretches of the viewer's area."""
    values = {"now": deps.settings.clock.now(), "below": area.below, "state": state, "limit": ROWS_MAX}
    async with deps.reach.as_viewer(area.actor.viewer) as connection:
        found = await rows(connection, "road_works", values)
    return RoadWorks(works=[RoadWork(**row) for row in found])
