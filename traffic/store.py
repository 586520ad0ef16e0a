"""What the stream workers write and read, in verbs of the domain, inside the caller's transaction."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from traffic.audience import Audience
from traffic.binary_copy import Columns
from traffic.database import queries
from traffic.findings import Finding, Observation, Shelf, Verification
from traffic.limits import TRAVEL_SAMPLES_MAX
from traffic.readings import PASSAGE, PassageBatch, Reject
from traffic.road_readings import ALARM, POSITION
from traffic.vehicles.travel_time import by_bucket

SQL = queries("traffic")
_OPAQUE = np.dtype(f"V{PASSAGE.itemsize}")  # a row for numpy to move whole
_COPY_PASSAGES = f"COPY passage ({', '.join(PASSAGE.names)}) FROM STDIN (FORMAT BINARY)"  # type: ignore[arg-type]
_PASSAGES = Columns(PASSAGE, times=("observed_at", "received_at"))
_POSITIONS = Columns(POSITION, times=("observed_at", "received_at"))
_ALARM_NAMES = [name for name in ALARM.names or () if name != "spare"]
_ALARMS = Columns(np.dtype([(name, ALARM[name]) for name in _ALARM_NAMES]), times=("observed_at", "received_at"))


def when(us: int) -> datetime:
    """Microseconds since 1970 as an aware datetime (exact, unlike a float)."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)


def us_of(moment: datetime) -> int:
    """An aware datetime as microseconds since 1970 (exact)."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def pack_passages(rows: np.ndarray) -> bytes:
    """PASSAGE rows as the whole body of a binary COPY."""
    return _PASSAGES.pack(rows)


def unpack_passages(data: bytes) -> np.ndarray:
    """The body of a binary COPY of passages as PASSAGE rows."""
    return _PASSAGES.unpack(data)


def copy_passages(connection: psycopg.Connection, batch: PassageBatch) -> None:
    """Store new passages; raises psycopg.errors.UniqueViolation when one of them is stored already."""
    order = np.argsort(batch.rows["plate_key"])  # rows in the order of an index cost PostgreSQL a tenth less
    with connection.cursor() as cursor:
        with cursor.copy(_COPY_PASSAGES) as copy:
            copy.write(pack_passages(batch.rows.view(_OPAQUE)[order].view(PASSAGE)))
        if batch.extras:
            with cursor.copy("COPY passage_extra (observed_at, source_hash, plate_raw, images) FROM STDIN") as copy:
                for row, extra in batch.extras.items():
                    record = batch.rows[row]
                    images = list(extra.images) or None
                    copy.write_row(
                        (when(int(record["observed_at"])), int(record["source_hash"]), extra.plate_raw, images)
                    )
        if batch.odd_plates:
            cursor.execute(
                SQL["odd_plates"], {"keys": list(batch.odd_plates), "plates": list(batch.odd_plates.values())}
            )


def find_stored(connection: psycopg.Connection, rows: np.ndarray) -> dict[int, dict[str, object]]:
    """Which of these rows the table holds already: row number -> the stored columns (observed_at as microseconds)."""
    if not len(rows):
        return {}
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        cursor.execute(
            SQL["stored_already"],
            {
                "numbers": list(range(len(rows))),
                "checkpoints": rows["checkpoint"].tolist(),
                "times": rows["observed_at"].tolist(),
                "hashes": rows["source_hash"].tolist(),
            },
        )
        return {row.pop("number"): {**row, "observed_at": us_of(row["observed_at"])} for row in cursor}


AMENDABLE = (
    "plate_key", "plate_class", "direction", "lane", "speed_kmh", "length_m", "plate_color", "vehicle_class",
    "body_color",
)  # fmt: skip


def differences(stored: dict[str, object], row: np.void) -> tuple[dict[str, object], dict[str, object]]:
    """What the stored passage says and what the new copy of it says, where they differ (not a number: null)."""
    before, after = {}, {}
    for name in AMENDABLE:
        old = np.array(stored[name], PASSAGE[name])
        new = row[name]
        same = old == new or (PASSAGE[name].kind == "f" and np.isnan(old) and np.isnan(new))
        if not same:
            before[name], after[name] = _plain(old), _plain(new)
    return before, after


def _plain(value: np.ndarray | np.generic) -> object:
    number = value.item()
    return None if isinstance(number, float) and np.isnan(number) else number


def amend(connection: psycopg.Connection, rows: np.ndarray) -> np.ndarray | None:
    """Lay this copy of a stored passage (one row) beside it; keeps what the passage said before.

    The copy received last is what the passage says, whichever came first out of the bus; one that only says what the
    passage said at some time before is an old copy sent again. Gives [the passage before, the passage now] as PASSAGE
    rows when it says something else now.
    """
    row = rows[0]
    stored = find_stored(connection, rows).get(0)
    before, after = differences(stored, row) if stored else ({}, {})
    if not stored or not after:
        return None
    identity = {"observed_at": when(int(row["observed_at"])), "source_hash": int(row["source_hash"])}
    amendments = connection.execute(SQL["amendments_of"], identity).fetchall()
    said = dict(stored)
    for earlier, _ in amendments:
        said.update({name: float("nan") if value is None else value for name, value in earlier.items()})
        if not differences(said, row)[1]:
            return None
    received_at = when(int(row["received_at"]))
    is_newest = received_at >= max([stored["received_at"], *(at for _, at in amendments)])
    if not is_newest:
        before, after = after, before
    amendment = {"before": Jsonb(before), "after": Jsonb(after), "received_at": received_at}
    sender = {"door": int(row["door"]), "device": int(row["device"])}
    connection.execute(SQL["amendment_write"], {**identity, **amendment, **sender})
    return _set_passage(connection, stored, row, after) if is_newest else None


def _set_passage(
    connection: psycopg.Connection, stored: dict[str, object], row: np.void, after: dict[str, object]
) -> np.ndarray:
    sets = sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in after)
    values = {name: float("nan") if value is None else value for name, value in after.items()}
    place = {"observed_at": when(int(row["observed_at"])), "source_hash": int(row["source_hash"])}
    connection.execute(
        sql.SQL(
            "UPDATE passage SET {} WHERE checkpoint = %(checkpoint)s::int AND observed_at = %(observed_at)s"
        ).format(sets)
        + sql.SQL(" AND source_hash = %(source_hash)s::bigint"),
        {**place, **values, "checkpoint": int(row["checkpoint"])},
    )
    both = np.repeat(row, 2)
    for name in AMENDABLE:
        both[name][0] = stored[name]
    return both


def add_sources(connection: psycopg.Connection, rows: np.ndarray) -> None:
    """Note that these known passages came by a further door or device."""
    with connection.cursor() as cursor:
        cursor.executemany(
            SQL["source_add"],
            [
                {
                    "observed_at": when(int(row["observed_at"])),
                    "source_hash": int(row["source_hash"]),
                    "checkpoint": int(row["checkpoint"]),
                    "door": int(row["door"]),
                    "device": int(row["device"]),
                    "received_at": when(int(row["received_at"])),
                }
                for row in rows
            ],
        )


def copy_out(connection: psycopg.Connection, name: str, **literals: object) -> np.ndarray:
    """Run one of the COPY statements that give passages (they take no parameters, so literals are composed)."""
    statement = sql.SQL(SQL[name]).format(**{key: sql.Literal(value) for key, value in literals.items()})  # type: ignore[arg-type]
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        return unpack_passages(b"".join(bytes(part) for part in copy))


def copy_out_positions(connection: psycopg.Connection, **literals: object) -> np.ndarray:
    """POSITION rows of registered vehicles in a span, by the statement `key_positions_between`."""
    statement = sql.SQL(SQL["key_positions_between"]).format(
        **{key: sql.Literal(value) for key, value in literals.items()}
    )  # type: ignore[arg-type]
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        return _POSITIONS.unpack(b"".join(bytes(part) for part in copy))


def write_travel_times(connection: psycopg.Connection, facts: np.ndarray, *, slot: int) -> None:
    """Add TRAVEL_FACTs to the writer's rows of table travel_time; those taken back leave count and samples.

    The count is right over all slots together. A sample that another writer's row holds, or that came after the first
    TRAVEL_SAMPLES_MAX, cannot be told from the others: it stays.
    """
    if not len(facts):
        return
    gained = by_bucket(facts[facts["sign"] > 0])
    if gained:
        sections, buckets, vehicles, seconds = zip(*gained, strict=True)
        connection.execute(
            SQL["travel_times"],
            {
                "slot": slot,
                "samples_max": TRAVEL_SAMPLES_MAX,
                "sections": list(sections),
                "buckets": list(buckets),
                "vehicles": list(vehicles),
                "seconds": [_real_array(times) for times in seconds],
            },
        )
    for section, bucket, count, times in by_bucket(facts[facts["sign"] < 0]):  # seldom
        back = {"slot": slot, "section": section, "bucket": when(bucket), "vehicles": count, "seconds": times}
        connection.execute(SQL["travel_time_back"], back)


def _real_array(numbers: Sequence[float]) -> str:
    """A real[] as PostgreSQL writes it."""
    return f"{{{','.join(map(repr, numbers))}}}"


def add_alarms(connection: psycopg.Connection, rows: np.ndarray) -> None:
    """Store ALARM rows; one that is stored already changes nothing."""
    if not len(rows):
        return
    packed = np.empty(len(rows), _ALARMS.dtype)
    for name in _ALARM_NAMES:
        packed[name] = rows[name]
    staged = _ALARMS.stage(connection, "device_alarm", packed)
    connection.execute(sql.SQL(SQL["alarms_add"]).format(staged=sql.Identifier(staged)))  # type: ignore[arg-type]


def write_rejects(
    connection: psycopg.Connection, rejects: Iterable[Reject], audience_of_unit: Mapping[int, frozenset[int]], top: int
) -> None:
    """Keep refused records; one of an unknown device is for the eyes of the top unit."""
    with connection.cursor() as cursor:
        cursor.executemany(
            SQL["quarantine_write"],
            [
                {
                    "received_at": when(reject.received_at),
                    "door": reject.door,
                    "device_id": reject.device_id,
                    "unit_id": reject.unit_id,
                    "position": reject.position,
                    "field": _storable(reject.field),
                    "reason": reject.reason,
                    "detail": _storable(reject.detail),
                    "body": reject.body,
                    "audience": sorted(audience_of_unit.get(reject.unit_id or 0) or {top}),
                }
                for reject in rejects
            ],
        )


def _storable(text: str) -> str:
    """Words that may quote a sender: PostgreSQL's text holds no NUL."""
    return text.replace("\0", "\N{SYMBOL FOR NULL}")


def read_findings(connection: psycopg.Connection, ids: list) -> dict:
    """The findings of these ids, as frozen facts; they are this transaction's until it ends.

    Two workers can have a word on one finding (a misread plate belongs to another partition than the watched one).
    """
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        return {row["id"]: finding_of_row(row) for row in cursor.execute(SQL["findings_read"], {"ids": ids})}


def finding_of_row(row: dict) -> Finding:
    """A row of table `finding` as a frozen fact."""
    grounds = row["grounds"]
    return Finding(
        id=row["id"],
        kind=row["kind"],
        plate_key=row["plate_key"],
        class_group=row["class_group"],
        anchor=row["anchor"],
        revision=row["revision"],
        change=row["change"],
        state=row["state"],
        level=row["level"],
        rule_id=row["rule_id"],
        rule_version=row["rule_version"],
        rule_name=grounds["rule"]["name"],
        clause=grounds["rule"]["clause"],
        confidence=row["confidence"],
        first_at=us_of(row["first_at"]),
        observed_at=us_of(row["observed_at"]),
        raised_at=us_of(row["raised_at"]),
        count=grounds["count"],
        observations=tuple(Observation(**observation) for observation in grounds["observations"]),
        detail=grounds["detail"],
        cause=grounds["cause"],
        verification=msgspec.convert(row["verification"], Verification | None),
        shelf=msgspec.convert(row["shelf"], Shelf | None),
        audience=Audience(
            units=frozenset(row["audience"]),
            visibility=row["visibility"],
            addressees=frozenset(row["addressees"]),
        ),
    )


def write_findings(connection: psycopg.Connection, written: Sequence[tuple[Finding, int]]) -> None:
    """Write findings (each with its partition) as they stand, and the revisions that brought them there, in order."""
    rows = [_row_of_finding(finding, partition) for finding, partition in written]
    with connection.cursor() as cursor:
        cursor.executemany(SQL["finding_write"], rows)
        cursor.executemany(SQL["finding_revision_write"], rows)


def _row_of_finding(finding: Finding, partition: int) -> dict[str, object]:
    grounds = {
        "rule": {
            "id": finding.rule_id,
            "version": finding.rule_version,
            "name": finding.rule_name,
            "clause": finding.clause,
        },
        "count": finding.count,
        "observations": finding.observations,
        "detail": finding.detail,
        "cause": finding.cause,
        "level": finding.level,
        "state": finding.state,
        "confidence": finding.confidence,
        "verification": finding.verification,
        "shelf": finding.shelf,
    }
    return {
        "id": finding.id,
        "kind": finding.kind,
        "partition": partition,
        "plate_key": finding.plate_key,
        "class_group": finding.class_group,
        "anchor": finding.anchor,
        "revision": finding.revision,
        "change": finding.change,
        "state": finding.state,
        "level": finding.level,
        "rule_id": finding.rule_id,
        "rule_version": finding.rule_version,
        "confidence": finding.confidence,
        "first_at": when(finding.first_at),
        "observed_at": when(finding.observed_at),
        "raised_at": when(finding.raised_at),
        "grounds": _json(grounds),
        "verification": _json(finding.verification) if finding.verification else None,
        "shelf": _json(finding.shelf) if finding.shelf else None,
        "audience": sorted(finding.audience.units),
        "visibility": finding.audience.visibility,
        "addressees": sorted(finding.audience.addressees),
        "cause": _json(finding.cause),
    }


def _json(value: object) -> Jsonb:
    return Jsonb(value, msgspec.json.encode)
