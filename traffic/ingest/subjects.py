"""Every kind of record that a native sender may hand in: one row each. A new door is a codec and a row here. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from traffic.errors import Reason
from traffic.ingest import cameras, detectors, native, positions, weather, works
from traffic.ingest.bodies import BODY_KEPT_BYTES, Records, Refusal, read_array, read_each, read_lines
from traffic.ingest.catalogue import Catalogue, Device
from traffic.ingest.checks import Checked
from traffic.ingest.plate_column import PlateReader
from traffic.ingest.validate import Bench
from traffic.readings import Door, Reject


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """`name` in addresses; `check` judges what was read of `record`.

    `blank`: fields in which an empty text says something; `one_by_one`: its records are not judged in columns.
    """

    name: str
    title: str
    door: Door
    record: type[msgspec.Struct]
    check: Callable[..., Checked[Any]]
    example: Mapping[str, object]
    blank: frozenset[str] = frozenset()
    one_by_one: bool = False
    _one: msgspec.json.Decoder = None  # type: ignore[assignment]
    _all: msgspec.json.Decoder = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        object.__setattr__(self, "_one", msgspec.json.Decoder(self.record))
        object.__setattr__(self, "_all", msgspec.json.Decoder(list[self.record]))  # type: ignore[name-defined]

    def read(self, body: bytes, *, lines: bool) -> Records:
        """Records of a JSON array, or of one line each; raises BodyRefused."""
        return read_lines(body, self._one.decode) if lines else read_array(body, self._all.decode, self._one.decode)

    def read_one(self, line: bytes) -> Any:
        """One record; raises one of bodies.UNREADABLE_JSON."""
        return self._one.decode(line)


SUBJECTS: dict[str, Subject] = {
    subject.name: subject
    for subject in (
        Subject(
            name="passages", title="Passages of vehicles at checkpoints", door=Door.NATIVE,
            record=native.NativeRecord, check=native.check, example=native.EXAMPLE, blank=frozenset({"plate"}),
        ),
        Subject(
            name="detector-reports", title="What detectors counted and measured", door=Door.NATIVE_DETECTORS,
            record=detectors.DetectorRecord, check=detectors.check, example=detectors.EXAMPLE,
        ),
        Subject(
            name="positions", title="Positions of vehicles and crews", door=Door.NATIVE_POSITIONS,
            record=positions.PositionRecord, check=positions.check, example=positions.EXAMPLE,
        ),
        Subject(
            name="weather", title="Weather and the road's condition", door=Door.NATIVE_WEATHER,
            record=weather.WeatherRecord, check=weather.check, example=weather.EXAMPLE, one_by_one=True,
        ),
        Subject(
            name="road-works", title="Works on the road", door=Door.NATIVE_WORKS,
            record=works.WorksRecord, check=works.check, example=works.EXAMPLE, one_by_one=True,
        ),
        Subject(
            name="cameras", title="Lists of camera points", door=Door.NATIVE_CAMERAS,
            record=cameras.CameraRecord, check=cameras.check, example=cameras.EXAMPLE, one_by_one=True,
        ),
    )
}  # fmt: skip
_OF_DOOR = {subject.door: subject for subject in SUBJECTS.values()}


def subject_of(door: int, record_json: bytes) -> Subject:
    """The kind of a refused record: said by its door, else (files, GA/T 1400) by the fields that it has."""
    try:
        found = _OF_DOOR.get(Door(door))
    except ValueError:
        found = None
    if found is not None or door == Door.GAT1400:
        return found or SUBJECTS["passages"]
    try:
        fields = set(msgspec.json.decode(record_json, type=dict[str, msgspec.Raw]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        fields = set()

    def fit(subject: Subject) -> float:
        own = {field.name: field.required for field in msgspec.structs.fields(subject.record)}
        required = {name for name, needed in own.items() if needed}
        return len(required & fields) / len(required) + len(fields & own.keys()) / 100

    return max(SUBJECTS.values(), key=fit)


def revalidate(
    record_json: bytes, device: Device, catalogue: Catalogue, received_us: int, *, door: int = Door.NATIVE
) -> Checked[Any] | Reject:
    """Judge one corrected record as if `device` had sent it now: what goes on the bus, or why not."""
    subject = subject_of(door, record_json)
    bench = Bench(catalogue=catalogue, plates=PlateReader(), door=subject.door)
    read = read_each([record_json], subject.read_one)
    checked = subject.check(read, device=device, bench=bench, received_us=received_us)
    if not checked.refusals:
        return checked
    refusal: Refusal = checked.refusals[0]
    return Reject(
        received_at=received_us,
        door=subject.door,
        device_id=device.id,
        unit_id=device.unit_id,
        position=0,
        field=refusal.field,
        reason=Reason(refusal.reason),
        detail=refusal.detail,
        body=record_json[:BODY_KEPT_BYTES],
    )
