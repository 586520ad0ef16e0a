"""What every codec shares: checks over columns, faults of single records, and what a judged request is. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

import numpy as np
from msgspec.structs import astuple

from traffic.errors import Reason, TrafficError
from traffic.ingest.bodies import BODY_KEPT_BYTES, Records, Refusal
from traffic.limits import EVENT_AGE_MAX_S, EVENT_AHEAD_MAX_S
from traffic.readings import Batch, EntryKind
from traffic.road_readings import RoadsideItem

NO_TIME = np.iinfo(np.int64).min  # in a column of times: the text is no time
BatchOf = TypeVar("BatchOf", bound=Batch, covariant=True)
Record = TypeVar("Record")
Item = TypeVar("Item", bound=RoadsideItem)
Why = Callable[[int], tuple[Reason, str]]
Check = tuple[str, np.ndarray, Why]  # column, mask of the rows that fail, why this row does


class Fault(TrafficError):
    """What is wrong with one record."""

    def __init__(self, field: str, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.field = field
        self.reason = reason


@dataclass(slots=True, kw_only=True)
class Checked(Generic[BatchOf]):
    """`batch` row i is the record at place `index[i]` of the request; with the refusals that is all `count` of them."""

    batch: BatchOf
    index: np.ndarray
    refusals: list[Refusal]
    count: int
    kind: EntryKind = EntryKind.PASSAGES


def judge_rows(
    checks: Sequence[Check], read: Records, *, name_of: Callable[[str], str] = str
) -> tuple[np.ndarray, list[Refusal]]:
    """(mask of the good rows, all refusals by place). The first check that fails is the one to mend first."""
    good = np.ones(len(read.records), bool)
    for _, wrong, _ in checks:
        good &= ~wrong
    refusals = list(read.refusals)
    for row in np.flatnonzero(~good).tolist():
        name, reason, detail = next((name, *why(row)) for name, wrong, why in checks if wrong[row])
        refusals.append(_refusal(read, row, name_of(name), reason, detail))
    if len(refusals) > len(read.refusals):
        refusals.sort(key=lambda refusal: refusal.index)
    return good, refusals


def judge_each(read: Records[Record], judge: Callable[[Record], Item]) -> Checked[list[RoadsideItem]]:
    """Judge record by record, for kinds of which there are few; `judge` raises Fault."""
    batch: list[RoadsideItem] = []
    index: list[int] = []
    refusals = list(read.refusals)
    for row, record in enumerate(read.records):
        try:
            batch.append(judge(record))
            index.append(read.index[row])
        except Fault as fault:
            refusals.append(_refusal(read, row, fault.field, fault.reason, str(fault)))
    refusals.sort(key=lambda refusal: refusal.index)
    return Checked(
        batch=batch, index=np.array(index, np.int64), refusals=refusals, count=read.count, kind=EntryKind.ROADSIDE
    )


def _refusal(read: Records, row: int, field: str, reason: Reason, detail: str) -> Refusal:
    place = read.index[row]
    body = bytes(read.raw_at(place)[:BODY_KEPT_BYTES])
    return Refusal(index=place, field=field, reason=reason, detail=detail, body=body)


def columns_of(kind: type, records: Sequence[Any]) -> dict[str, tuple]:
    """The fields of many records of one kind, each as a column."""
    fields = kind.__struct_fields__  # type: ignore[attr-defined]
    values = zip(*map(astuple, records), strict=True) if records else ((),) * len(fields)
    return dict(zip(fields, values, strict=True))


# ---------------------------------------------------------------- times
def times_us(times: Sequence[datetime]) -> np.ndarray:
    """Microseconds of zoned times. A double holds those of this century to a quarter, so that rounding is right."""
    seconds = np.fromiter(map(datetime.timestamp, times), np.float64, len(times))
    return np.rint(seconds * 1e6).astype(np.int64)


def time_checks(times: np.ndarray, received_us: int) -> Iterator[Check]:
    """Event time must lie in [received - EVENT_AGE_MAX_S, received + EVENT_AHEAD_MAX_S]."""
    yield "observed_at", times == NO_TIME, lambda row: (Reason.TIME_UNREADABLE, "the text is missing or no time")
    ahead = times > received_us + EVENT_AHEAD_MAX_S * 1_000_000
    yield "observed_at", ahead, lambda row: (Reason.TIME_IN_FUTURE, f"more than {EVENT_AHEAD_MAX_S} s ahead of here")
    old = times < received_us - EVENT_AGE_MAX_S * 1_000_000
    days = EVENT_AGE_MAX_S // 86_400
    yield "observed_at", old, lambda row: (Reason.TIME_TOO_OLD, f"more than {days} days ago")


def observed_us(time: datetime, received_us: int) -> int:
    """As `time_checks`, of one record; raises Fault."""
    times = times_us([time])
    for field, wrong, why in time_checks(times, received_us):
        if wrong[0]:
            raise Fault(field, *why(0))
    return int(times[0])


# ---------------------------------------------------------------- texts
def storable(field: str, text: str) -> str:
    """A text without blanks around it; raises Fault where it holds what no table can keep."""
    if "\0" in text:
        raise Fault(field, Reason.MALFORMED, "the text holds a NUL character")
    return text.strip()


def told(field: str, text: str) -> str:
    """As `storable`, of a text that must not be empty."""
    text = storable(field, text)
    if not text:
        raise Fault(field, Reason.MISSING_FIELD, "the text is empty")
    return text
