"""Weather and the road's condition on a stretch. Pure."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from traffic.errors import Reason
from traffic.ingest.bodies import Records
from traffic.ingest.catalogue import Device
from traffic.ingest.checks import Checked, Fault, judge_each, observed_us, storable, times_us, told
from traffic.ingest.places import Placed, Text, stretch_of
from traffic.ingest.rights import must_own
from traffic.ingest.validate import Bench
from traffic.limits import WEATHER_VALID_S
from traffic.road_readings import RoadsideItem, WeatherReport

VALID_S_MAX = 7 * 24 * 3600  # a report that claims to hold longer is a slip of the pen
MEASURED = ("visibility_m", "precipitation", "intensity_mm_h", "temperature_c", "wind_ms", "surface")


class WeatherRecord(Placed, kw_only=True, frozen=True):
    """What a station, a car or a caller says of a stretch; at least one measured value. Null means not told."""

    station: Text
    observed_at: Annotated[datetime, Meta(tz=True)]
    valid_to: Annotated[datetime, Meta(tz=True)] | None = None
    kind: Literal["weather", "road_condition"] | None = None
    visibility_m: Annotated[int, Meta(ge=0, le=100_000)] | None = None
    precipitation: Literal["none", "rain", "sleet", "snow", "hail", "freezing_rain"] | None = None
    intensity_mm_h: Annotated[float, Meta(ge=0, le=500)] | None = None
    temperature_c: Annotated[float, Meta(ge=-70, le=70)] | None = None
    wind_ms: Annotated[float, Meta(ge=0, le=120)] | None = None
    surface: Literal["dry", "wet", "flooded", "snow", "ice", "black_ice"] | None = None
    note: Text | None = None


EXAMPLE = {
    "station": "QX-0431", "observed_at": "2026-11-24T08:00:00+08:00", "road": "G1", "from_stake": "K1023+500",
    "to_stake": "K1031+000", "kind": "weather", "visibility_m": 180, "precipitation": "snow", "temperature_c": -6.5,
}  # fmt: skip


def check(
    read: Records[WeatherRecord], *, device: Device, bench: Bench, received_us: int
) -> Checked[list[RoadsideItem]]:
    """Judge what was read."""

    def judge(record: WeatherRecord) -> WeatherReport:
        return _judge(record, device, bench, received_us)

    return judge_each(read, judge)


def _judge(record: WeatherRecord, device: Device, bench: Bench, received_us: int) -> WeatherReport:
    station = told("station", record.station)
    observed = observed_us(record.observed_at, received_us)
    stretch = stretch_of(record, bench.catalogue.roadside.roads)
    must_own(stretch, device, bench.catalogue)
    if all(getattr(record, name) is None for name in MEASURED):
        raise Fault(MEASURED[0], Reason.MISSING_FIELD, f"at least one of {', '.join(MEASURED)} is told")
    valid_to = observed + WEATHER_VALID_S * 1_000_000
    if record.valid_to is not None:
        valid_to = int(times_us([record.valid_to])[0])
        if not observed < valid_to <= observed + VALID_S_MAX * 1_000_000:
            detail = f"must lie behind observed_at, by at most {VALID_S_MAX // 86_400} days"
            raise Fault("valid_to", Reason.OUT_OF_RANGE, detail)
    return WeatherReport(
        station=station,
        observed_at=observed,
        received_at=received_us,
        valid_to=valid_to,
        device=device.id,
        unit_id=device.unit_id,
        road_id=stretch.road_id,
        from_stake_m=stretch.from_stake_m,
        to_stake_m=stretch.to_stake_m,
        direction=stretch.direction,
        kind=record.kind or "weather",
        note=storable("note", record.note or ""),
        **{name: getattr(record, name) for name in MEASURED},
    )
