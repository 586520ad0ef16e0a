"""The answers about roads, as OpenAPI describes them. Times are microseconds since 1970 UTC, places WGS-84.

Rows of series are lists, because there are many: [time, value, ...]; null is "not known", never zero.
"""

from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel

EventKind = Literal["congestion", "incident", "weather", "works", "sensor"]
SensorState = Literal["ok", "suspect", "failed", "silent"]
Row = list[int | float | None]


class UnitRef(BaseModel):
    """A unit by its names; level 1 corps, 2 detachment, 3 brigade, 4 squadron."""

    id: int
    name: str
    name_en: str
    level: int


# ---------------------------------------------------------------- the map's standing facts
class LinkFacts(BaseModel):
    """A link as it stands."""

    id: int
    road: str
    road_id: int
    road_name: str
    road_name_en: str
    direction: int
    from_stake_m: int
    to_stake_m: int
    length_m: int
    lanes: int
    limit_kmh: int
    unit_id: int
    unit: str
    unit_en: str


class DetectorFacts(BaseModel):
    """A detector as it stands; lanes are counted from the median."""

    id: int
    code: str
    name: str
    name_en: str
    kind: str
    road: str
    stake_m: int
    direction: int
    link_id: int
    lanes: int
    period_s: int
    lon: float
    lat: float
    unit_id: int


# ---------------------------------------------------------------- links
class LinkNow(BaseModel):
    """The state of the newest cycle. Level 0 (with nulls) is unknown: no fresh data, or the monitor stands still."""

    cycle_at: int
    observed_at: int | None
    level: int
    speed_kmh: float | None
    flow_vph: float | None
    density_vkm: float | None
    travel_s: float | None
    travel_p90_s: float | None
    heavy_share: float | None
    confidence: float
    sources: list[Literal["detectors", "checkpoints", "travel_times"]]


class RiskFactor(BaseModel):
    """What one factor adds to the risk score (0..1), now and within the next hour."""

    factor: str
    now: float
    next: float | None


class LinkRisk(BaseModel):
    """Risk of a link in four levels (0: unknown), with what makes it."""

    level: int
    score: float | None
    next_level: int
    next_score: float | None
    factors: list[RiskFactor]


class LaneHealth(BaseModel):
    """Health of one lane of a detector (lane 0: all together), or of one direction of a checkpoint."""

    lane: int
    state: SensorState
    reason: str
    trust: float
    since: int
    detail: dict[str, Any]


class SensorOnLink(BaseModel):
    """A sensor that measures this link, and its health; no lanes: nothing is known of it yet."""

    kind: Literal["detector", "checkpoint"]
    id: int
    code: str
    name: str
    name_en: str
    stake_m: int
    lanes: list[LaneHealth]


class Usual(BaseModel):
    """What is usual on this link at this quarter of an hour."""

    speed_kmh: float | None
    flow_vph: float | None


class LinkDetail(BaseModel):
    """`series`: rows [minute, speed km/h, flow veh/h, travel s] of the last 60 minutes; `grounds`: of the cycle."""

    link: LinkFacts
    state: LinkNow | None
    risk: LinkRisk
    grounds: dict[str, Any]
    sensors: list[SensorOnLink]
    series: list[Row]
    usual: Usual | None


# ---------------------------------------------------------------- events and sensors
class Event(BaseModel):
    """Something that is wrong on a road, as in the live view's topic `events`. Level 1 is the gravest."""

    id: UUID
    kind: EventKind
    state: Literal["open", "ended"]
    level: int
    revision: int
    link: int | None
    road: int
    direction: int
    head_stake_m: int
    tail_stake_m: int
    unit: int
    started_at: int
    changed_at: int
    ended_at: int | None
    observed_at: int
    confidence: float
    grounds: dict[str, Any]


class Events(BaseModel):
    """A page; `next` is the `before` of the following one, null at the end."""

    events: list[Event]
    next: str | None


class EventRevision(BaseModel):
    """The card as it stood in one revision."""

    revision: int
    changed_at: int
    body: dict[str, Any]


class EventDetail(BaseModel):
    """One event with its revisions, newest first."""

    event: Event
    revisions: list[EventRevision]


class SensorRow(BaseModel):
    """One lane of a detector or one direction of a checkpoint, and its health."""

    kind: Literal["detector", "checkpoint"]
    id: int
    code: str
    name: str
    name_en: str
    road: str
    stake_m: int
    unit_id: int
    lane: int
    state: SensorState
    reason: str
    trust: float
    since: int
    detail: dict[str, Any]


class Sensors(BaseModel):
    """The worst first; `counts` are over all sensors of the viewer's area, whatever was asked for."""

    sensors: list[SensorRow]
    counts: dict[SensorState, int]


class LaneSeries(BaseModel):
    """Reports of one lane: rows [end of the interval, vehicles, occupancy %, speed km/h, heavy]."""

    lane: int
    series: list[Row]


class DetectorDetail(BaseModel):
    """A detector, the health of its lanes, and what they reported in the last 30 minutes."""

    detector: DetectorFacts
    health: list[LaneHealth]
    lanes: list[LaneSeries]


# ---------------------------------------------------------------- series
class Trend(BaseModel):
    """`series`: rows [bucket begin, value]; `before`: the same 7 days earlier, at the times of then."""

    scope: str
    id: int
    metric: str
    bucket_s: int
    series: list[Row]
    before: list[Row]


# ---------------------------------------------------------------- places
class RoadRef(BaseModel):
    """A road by its code and names."""

    id: int
    code: str
    name: str
    name_en: str


class PlaceAnswer(BaseModel):
    """A place both ways: road and stake, and a point. `away_m`: how far the asked point lies from the road.

    `link_id` and `unit_id` are told where the viewer may see that link.
    """

    road: RoadRef
    stake_m: int
    stake: str
    direction: int
    lon: float
    lat: float
    bearing_deg: float
    away_m: float
    link_id: int | None
    unit_id: int | None


class Found(BaseModel):
    """One result. `id` is that of its kind; of a place it is null."""

    kind: Literal["place", "road", "unit", "checkpoint", "detector", "object", "crew"]
    id: int | None
    title: str
    title_en: str
    detail: str
    road: str | None
    stake_m: int | None
    direction: int | None
    lon: float | None
    lat: float | None
    unit_id: int | None


class FoundList(BaseModel):
    """The best first, at most 20."""

    results: list[Found]


# ---------------------------------------------------------------- areas
class IndexNow(BaseModel):
    """Congestion index 0..10 of an area beside what is usual. `risk_links`: links at risk level 1..4."""

    index: float | None
    usual: float | None
    speed_kmh: float | None
    congested_km: float
    known_share: float
    vehicle_km_h: float | None
    risk_links: list[int]
    at: int


class CrewCount(BaseModel):
    """Crews, and how many of them told their position within the last 5 minutes."""

    fresh: int
    total: int


class AreaNow(BaseModel):
    """How a unit's area stands; `index` null: not told by a cycle of late."""

    unit: UnitRef
    index: IndexNow | None
    events_open: dict[EventKind, int]
    crews: CrewCount


class AreaSummary(AreaNow):
    """With the units right below it."""

    children: list[AreaNow]


# ---------------------------------------------------------------- weather and works
class Weather(BaseModel):
    """A report in force: weather, or the road's condition. Direction 0: both; null: not told."""

    id: int
    station: str
    kind: Literal["weather", "road_condition"]
    observed_at: int
    valid_to: int
    road: str
    road_id: int
    from_stake_m: int
    to_stake_m: int
    direction: int
    visibility_m: int | None
    precipitation: str | None
    intensity_mm_h: float | None
    temperature_c: float | None
    wind_ms: float | None
    surface: str | None
    note: str
    unit_id: int


class WeatherReports(BaseModel):
    """Newest first."""

    reports: list[Weather]


class RoadWork(BaseModel):
    """Works on the road (占道施工); lanes are counted from the median."""

    id: int
    code: str
    kind: str
    state: Literal["planned", "active", "ended", "cancelled"]
    road: str
    road_id: int
    from_stake_m: int
    to_stake_m: int
    direction: int
    lanes_closed: list[int]
    from_at: int
    to_at: int
    contact: str
    unit_id: int
    revision: int


class RoadWorks(BaseModel):
    """In order of their begin."""

    works: list[RoadWork]
