"""Works on the road (占道施工). Pure."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from traffic.errors import Reason
from traffic.ingest.bodies import Records
from traffic.ingest.catalogue import Device
from traffic.ingest.checks import Checked, Fault, judge_each, observed_us, storable, times_us, told
from traffic.ingest.detectors import LANES_MAX
from traffic.ingest.places import Placed, Text, stretch_of
from traffic.ingest.rights import must_own
from traffic.ingest.validate import Bench
from traffic.road_readings import RoadsideItem, RoadWork

SPAN_S_MAX = 10 * 366 * 24 * 3600  # from when it is told to either end
Lane = Annotated[int, Meta(ge=1, le=LANES_MAX)]  # from the median


class WorksRecord(Placed, kw_only=True, frozen=True):
    """One permit of works: where, which lanes are closed (none: beside the lanes), from when to when."""

    code: Text
    observed_at: Annotated[datetime, Meta(tz=True)]
    direction: Annotated[int, Meta(ge=1, le=2)]  # type: ignore[assignment]
    lanes_closed: Annotated[list[Lane], Meta(max_length=LANES_MAX)]
    from_at: Annotated[datetime, Meta(tz=True)]
    to_at: Annotated[datetime, Meta(tz=True)]
    kind: Text
    contact: Text | None = None
    state: Literal["planned", "active", "ended", "cancelled"] | None = None


EXAMPLE = {
    "code": "SG-2026-0117", "observed_at": "2026-11-24T07:30:00+08:00", "road": "G1", "from_stake": "K1010+200",
    "to_stake": "K1012+000", "direction": 1, "lanes_closed": [3], "from_at": "2026-11-24T09:00:00+08:00",
    "to_at": "2026-11-24T16:00:00+08:00", "kind": "resurfacing", "contact": "养护一队", "state": "planned",
}  # fmt: skip


def check(read: Records[WorksRecord], *, device: Device, bench: Bench, received_us: int) -> Checked[list[RoadsideItem]]:
    """Judge what was read."""

    def judge(record: WorksRecord) -> RoadWork:
        return _judge(record, device, bench, received_us)

    return judge_each(read, judge)


def _judge(record: WorksRecord, device: Device, bench: Bench, received_us: int) -> RoadWork:
    code = told("code", record.code)
    observed = observed_us(record.observed_at, received_us)
    stretch = stretch_of(record, bench.catalogue.roadside.roads)
    must_own(stretch, device, bench.catalogue)
    begin, end = times_us([record.from_at, record.to_at]).tolist()
    for field, time in (("from_at", begin), ("to_at", end)):
        if abs(time - received_us) > SPAN_S_MAX * 1_000_000:
            raise Fault(field, Reason.OUT_OF_RANGE, "more than ten years from here")
    if end <= begin:
        raise Fault("to_at", Reason.OUT_OF_RANGE, "the works end before they begin")
    return RoadWork(
        code=code,
        observed_at=observed,
        received_at=received_us,
        device=device.id,
        unit_id=stretch.unit_id,
        road_id=stretch.road_id,
        from_stake_m=stretch.from_stake_m,
        to_stake_m=stretch.to_stake_m,
        direction=stretch.direction,
        lanes_closed=tuple(sorted(set(record.lanes_closed))),
        from_at=begin,
        to_at=end,
        kind=told("kind", record.kind),
        contact=storable("contact", record.contact or ""),
        state=record.state or "planned",
    )
