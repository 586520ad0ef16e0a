"""Lists of camera points. Pure."""

from typing import Annotated

from msgspec import Meta

from traffic.errors import Reason
from traffic.ingest.bodies import Records
from traffic.ingest.catalogue import Catalogue, Device
from traffic.ingest.checks import Checked, Fault, judge_each, storable, told
from traffic.ingest.places import Placed, Text, stretch_of
from traffic.ingest.rights import must_own
from traffic.ingest.validate import Bench
from traffic.road_readings import CameraRow, RoadsideItem

FACTS_MAX = 32
Fact = str | bool | int | float
Name = Annotated[str, Meta(max_length=64)]


class CameraRecord(Placed, kw_only=True, frozen=True):
    """One camera point; it stands at a stake or at a point on the map."""

    code: Text
    name: Text
    stake: Text | None = None
    enabled: bool | None = None
    facts: Annotated[dict[Name, Fact], Meta(max_length=FACTS_MAX)] | None = None


EXAMPLE = {
    "code": "22010000001320000007", "name": "京哈高速K1023+500球机", "road": "G1", "stake": "K1023+500", "direction": 1,
    "enabled": True, "facts": {"kind": "dome", "height_m": 12},
}  # fmt: skip


def check(
    read: Records[CameraRecord], *, device: Device, bench: Bench, received_us: int
) -> Checked[list[RoadsideItem]]:
    """Judge what was read."""

    def judge(record: CameraRecord) -> CameraRow:
        return _judge(record, device, bench.catalogue, received_us)

    return judge_each(read, judge)


def _judge(record: CameraRecord, device: Device, catalogue: Catalogue, received_us: int) -> CameraRow:
    code, name = told("code", record.code), told("name", record.name)
    _may_be(code, device, catalogue)
    place = Placed(
        road=record.road,
        from_stake=record.stake or record.from_stake,
        direction=record.direction,
        lon=record.lon,
        lat=record.lat,
        datum=record.datum,
    )
    stretch = stretch_of(place, catalogue.roadside.roads, stake_field="stake")
    must_own(stretch, device, catalogue)
    return CameraRow(
        code=code,
        name=name,
        received_at=received_us,
        device=device.id,
        unit_id=stretch.unit_id,
        road_id=stretch.road_id,
        stake_m=stretch.from_stake_m,
        direction=stretch.direction,
        lon=stretch.point[0],
        lat=stretch.point[1],
        enabled=record.enabled is not False,
        facts=_facts(record.facts or {}),
    )


def _may_be(code: str, device: Device, catalogue: Catalogue) -> None:
    """A code that is known must be of a camera, and of the sender's units."""
    known = catalogue.roadside.objects.get(code)
    if known is None:
        return
    if known.kind != "camera":
        raise Fault("code", Reason.UNSUPPORTED, f"the code belongs to a {known.kind}, not to a camera")
    if known.unit_id not in catalogue.units_of(device):
        raise Fault("code", Reason.NOT_THIS_DEVICE, "the camera belongs to no unit of this device's")


def _facts(facts: dict[str, Fact]) -> dict[str, Fact]:
    for name, value in facts.items():
        if isinstance(value, str) and len(value) > 256:
            raise Fault("facts", Reason.TOO_LONG, "a fact has at most 256 characters")
        if isinstance(value, int) and abs(value) >= 2**63:
            raise Fault("facts", Reason.OUT_OF_RANGE, "a fact's number has at most 64 bits")
        storable("facts", f"{name}{value}")
    return facts
