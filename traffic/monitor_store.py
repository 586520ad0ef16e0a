"""What the monitor writes and reads, in verbs of the domain, inside the caller's transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from traffic.binary_copy import Columns
from traffic.errors import Reason
from traffic.limits import TRAVEL_WINDOW_S
from traffic.readings import Door, Reject
from traffic.report_copies import REPORT_ROW, sort_out
from traffic.road_readings import DETECTOR_REPORT, CameraRow, RoadsideItem, RoadWork, WeatherReport
from traffic.roadbook import SQL, RoadBook
from traffic.roads.model import CHECKPOINT_FLOW, TRAVEL, Inputs
from traffic.store import us_of, when
from traffic.trends import usual

FLOW_WINDOW_US = 300_000_000
SOON_US = 3_600_000_000
IN_FORCE_MAX = 5_000  # reports of weather, and works, in one cycle; the newest count
_REPORTS = Columns(REPORT_ROW, times=("observed_at", "received_at"))
_REPORTS_OUT = Columns(DETECTOR_REPORT, times=("observed_at", "received_at"))


# ---------------------------------------------------------------- what came in
@dataclass(slots=True, kw_only=True)
class Written:
    """What became of a batch."""

    reports: int = 0
    amended: int = 0
    repeated: int = 0
    items: int = 0  # weather, works, cameras that said something new
    items_repeated: int = 0
    refused: list[Reject] = field(default_factory=list)


def write_reports(connection: psycopg.Connection, reports: np.ndarray, written: Written) -> None:
    """Keep a batch's detector reports (DETECTOR_REPORT), each interval once, as it was told last."""
    if not len(reports):
        return
    copies = sort_out(reports)
    _REPORTS.stage(connection, "detector_report", copies.rows)
    row = connection.execute(SQL["reports_merge"]).fetchone()
    assert row is not None
    if copies.changed:
        connection.execute(SQL["reports_again"])
    written.reports += row[0]
    written.amended += row[1] + copies.changed
    written.repeated += len(reports) - row[0] - row[1] - copies.changed


def write_items(
    connection: psycopg.Connection, items: Sequence[RoadsideItem], written: Written, *, now_us: int
) -> None:
    """Keep weather, works and cameras; what the tables cannot hold becomes a refused record."""
    try:
        with connection.transaction():  # all at once, which nearly always goes
            counted = [_WRITERS[type(item)](connection, item) for item in items]
    except (psycopg.DataError, psycopg.IntegrityError):
        counted = []
        for item in items:
            counted.append(_one(connection, item, now_us=now_us))
    cameras = 0
    for item, outcome in zip(items, counted, strict=True):
        if isinstance(outcome, Reject):
            written.refused.append(outcome)
        elif isinstance(outcome, str):
            written.refused.append(_refusal(item, Reason.NOT_THIS_DEVICE, outcome, now_us=now_us))
        else:
            written.items += outcome
            written.items_repeated += not outcome
            cameras += outcome and isinstance(item, CameraRow)
    if cameras:
        connection.execute(SQL["network_changed"])


def _one(connection: psycopg.Connection, item: RoadsideItem, *, now_us: int) -> bool | str | Reject:
    try:
        with connection.transaction():
            return _WRITERS[type(item)](connection, item)
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        return _refusal(item, Reason.NOT_STORABLE, str(error).splitlines()[0], now_us=now_us)


def _refusal(item: RoadsideItem, reason: Reason, why: str, *, now_us: int) -> Reject:
    doors = {WeatherReport: Door.NATIVE_WEATHER, RoadWork: Door.NATIVE_WORKS, CameraRow: Door.NATIVE_CAMERAS}
    return Reject(
        received_at=now_us,
        door=doors[type(item)],
        device_id=item.device,
        unit_id=item.unit_id,
        position=0,
        field="",
        reason=reason,
        detail=why[:2000],
        body=msgspec.json.encode(item)[:8192],
    )


def _storable(text: str) -> str:
    """PostgreSQL's text holds no NUL."""
    return text.replace("\0", "\N{SYMBOL FOR NULL}")


def _values(item: RoadsideItem, *times: str) -> dict[str, object]:
    """The item's fields as parameters."""
    values = {name: getattr(item, name) for name in item.__struct_fields__}
    values |= {name: when(values[name]) for name in times}
    return {name: _storable(value) if isinstance(value, str) else value for name, value in values.items()}


def _write_weather(connection: psycopg.Connection, item: WeatherReport) -> bool:
    values = _values(item, "observed_at", "received_at", "valid_to")
    return connection.execute(SQL["weather_write"], values).rowcount == 1


def _write_works(connection: psycopg.Connection, item: RoadWork) -> bool | str:
    values = _values(item, "observed_at", "received_at", "from_at", "to_at")
    known = connection.execute(SQL["works_of_code"], values).fetchone()
    if known is not None and known[0] != item.device and known[1] != item.unit_id:
        return "another sender's works are known under this code, on another unit's road"
    values["lanes_closed"] = sorted(set(item.lanes_closed))
    return connection.execute(SQL["works_write"], values).rowcount == 1


def _write_camera(connection: psycopg.Connection, item: CameraRow) -> bool | str:
    known = connection.execute(SQL["object_of_code"], {"code": _storable(item.code)}).fetchone()
    if known is not None and known[0] != "camera":
        return f"an object of another kind ({known[0]}) is known under this code"
    values = _values(item)
    values |= {"changed_at": when(item.received_at), "changed_by": f"device {item.device}", "facts": _facts(item)}
    return connection.execute(SQL["camera_write"], values).rowcount == 1


def _facts(item: CameraRow) -> Jsonb:
    return Jsonb(
        {_storable(name): _storable(value) if isinstance(value, str) else value for name, value in item.facts.items()}
    )


_WRITERS: dict[type, Callable] = {WeatherReport: _write_weather, RoadWork: _write_works, CameraRow: _write_camera}


# ---------------------------------------------------------------- what a cycle rests on
def read_inputs(connection: psycopg.Connection, book: RoadBook, reports: np.ndarray, *, at_us: int) -> Inputs:
    """Everything that the cycle at this time is told, beside what the state remembers."""
    usual_kmh, usual_vph = usual(connection, book.network, at_us=at_us)
    return Inputs(
        reports=reports,
        flows=_flows(connection, at_us=at_us),
        travel=_travel(connection, at_us=at_us),
        alive_us=_alive(connection, book),
        weather=_weather(connection, at_us=at_us),
        works=_works(connection, at_us=at_us),
        usual_kmh=usual_kmh,
        usual_vph=usual_vph,
        above={unit: tuple(sorted(units)) for unit, units in book.above_unit.items()},
    )


def _flows(connection: psycopg.Connection, *, at_us: int) -> np.ndarray:
    """Minutes of checkpoints that had ended by now."""
    window = {"since": when(at_us - FLOW_WINDOW_US), "until": when(at_us - 60_000_000)}
    rows = connection.execute(SQL["flows"], window).fetchall()
    return np.array(rows, CHECKPOINT_FLOW)


def _travel(connection: psycopg.Connection, *, at_us: int) -> np.ndarray:
    window = {"since": when(at_us - TRAVEL_WINDOW_S * 1_000_000), "until": when(at_us)}
    rows = connection.execute(SQL["travel"], window).fetchall()
    counts = [len(row[2]) for row in rows]
    travel = np.empty(sum(counts), TRAVEL)
    travel["section"] = np.repeat(np.array([row[0] for row in rows], np.int64), counts)
    travel["bucket"] = np.repeat(np.array([row[1] for row in rows], np.int64), counts)
    travel["seconds"] = np.concatenate([row[2] for row in rows]) if rows else 0.0
    return travel


def _alive(connection: psycopg.Connection, book: RoadBook) -> dict[int, int]:
    seen: dict[int, int] = dict(connection.execute(SQL["signs_of_life"]).fetchall())
    newest = {
        checkpoint: max((seen.get(device, 0) for device in devices), default=0)
        for checkpoint, devices in book.keepalive_of_checkpoint.items()
    }
    return {checkpoint: at for checkpoint, at in newest.items() if at}


def _weather(connection: psycopg.Connection, *, at_us: int) -> list[WeatherReport]:
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(SQL["weather_in_force"], {"at": when(at_us), "limit": IN_FORCE_MAX})
        return [WeatherReport(**_fields(row, WeatherReport)) for row in cursor]


def _works(connection: psycopg.Connection, *, at_us: int) -> list[RoadWork]:
    with connection.cursor(row_factory=dict_row) as cursor:
        soon = when(at_us + SOON_US)
        cursor.execute(SQL["works_in_force"], {"at": when(at_us), "soon": soon, "limit": IN_FORCE_MAX})
        return [RoadWork(**{**_fields(row, RoadWork), "lanes_closed": tuple(row["lanes_closed"])}) for row in cursor]


def _fields(row: dict, kind: type[WeatherReport] | type[RoadWork]) -> dict:
    """A row's columns as the fields of a struct; times in microseconds."""
    values = {name: row[name] for name in kind.__struct_fields__}
    return {name: us_of(value) if hasattr(value, "tzinfo") else value for name, value in values.items()}


def reports_since(connection: psycopg.Connection, *, since_us: int, limit: int) -> np.ndarray:
    """The newest stored reports of a stretch of time, as DETECTOR_REPORT, in order of time."""
    statement = sql.SQL(SQL["reports_since"]).format(since=sql.Literal(when(since_us)), limit=sql.Literal(limit))  # type: ignore[arg-type]
    return _REPORTS_OUT.copy_out(connection, statement)[::-1]
