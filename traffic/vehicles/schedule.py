"""When a rule or a permit is in force: hours of the day, weekdays, holidays, first and last day. Local time (UTC+8).

Hours that run past midnight belong to the day on which they begin: 22:00-05:00 of Fridays ends on Saturday morning.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from traffic.vehicles.said import checked_keys, checked_list, refused

MINUTES_OF_DAY = 1440
LOCAL_US = 8 * 3_600_000_000  # Asia/Shanghai has no summer time
_MINUTE_US, _DAY_US = 60_000_000, 86_400_000_000
_EPOCH = date(1970, 1, 1)
_MONDAY_TO_FRIDAY = frozenset(range(1, 6))
HOLIDAYS = ("any", "only", "except")
HOURS_MAX = 24  # pairs of one schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Holidays:
    """Days that differ from their weekday, as sorted days since 1970: days off, and weekends that are worked."""

    off: np.ndarray
    worked: np.ndarray

    @staticmethod
    def of(days: Iterable[tuple[date, str]]) -> "Holidays":
        """From rows (day, 'holiday' or 'working')."""
        by_kind: dict[str, list[int]] = {"holiday": [], "working": []}
        for day, kind in days:
            by_kind[kind].append(day_number(day))
        return Holidays(
            off=np.array(sorted(by_kind["holiday"]), np.int64), worked=np.array(sorted(by_kind["working"]), np.int64)
        )


NO_HOLIDAYS = Holidays.of(())


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What was said, and compiled from it two tables of the day's minutes and one of the week's days.

    `holidays` "only": on days off alone; "except": not on days off, and a worked weekend counts as Monday to Friday.
    """

    hours: tuple[tuple[int, int], ...]  # (from, to) minutes of the day, to exclusive; to <= from: past midnight
    weekdays: frozenset[int]  # 1 Monday .. 7 Sunday
    holidays: str
    first_day: int | None  # days since 1970, both inclusive
    last_day: int | None
    same_day: np.ndarray  # bool[1440]: minutes covered by hours that began this day
    next_day: np.ndarray  # bool[1440]: minutes covered by hours that began the day before

    @property
    def always(self) -> bool:
        """Whether nothing limits it."""
        return (
            bool(self.same_day.all())
            and len(self.weekdays) == 7
            and self.holidays == "any"
            and self.first_day is None
            and self.last_day is None
        )

    def in_force(self, times_us: np.ndarray, holidays: Holidays = NO_HOLIDAYS) -> np.ndarray:
        """Which of these moments (microseconds UTC) it covers."""
        if self.always:
            return np.ones(len(times_us), bool)
        local = np.asarray(times_us, np.int64) + LOCAL_US
        day, minute = local // _DAY_US, local % _DAY_US // _MINUTE_US
        covered = self.same_day[minute] & self._days(day, holidays)
        if self.next_day.any():
            covered |= self.next_day[minute] & self._days(day - 1, holidays)
        return covered

    def _days(self, day: np.ndarray, holidays: Holidays) -> np.ndarray:
        of_week = np.zeros(8, bool)
        of_week[list(self.weekdays)] = True
        good = of_week[(day + 3) % 7 + 1]  # 1970-01-01 was a Thursday
        if self.holidays == "only":
            good &= np.isin(day, holidays.off)
        elif self.holidays == "except":
            good &= ~np.isin(day, holidays.off)
            worked = np.isin(day, holidays.worked)
            good[worked] = bool(self.weekdays & _MONDAY_TO_FRIDAY)
        if self.first_day is not None:
            good &= day >= self.first_day
        if self.last_day is not None:
            good &= day <= self.last_day
        return good


def day_number(day: date) -> int:
    """Days since 1970."""
    return (day - _EPOCH).days


def day_text(day: int) -> str:
    """2026-02-17 of days since 1970."""
    return date.fromordinal(_EPOCH.toordinal() + day).isoformat()


def local_days(times_us: np.ndarray) -> np.ndarray:
    """Days since 1970 of people, of many moments."""
    return (np.asarray(times_us, np.int64) + LOCAL_US) // _DAY_US


def parse_schedule(where: str, said: Mapping[str, Any]) -> Schedule:
    """From a rule's `schedule` (empty: always); raises SettingsError naming `where`, field and reason."""
    checked_keys(where, said, ("hours", "weekdays", "holidays", "from", "to"))
    hours = parse_hours(f"{where}.hours", said.get("hours") or [])
    weekdays = parse_weekdays(f"{where}.weekdays", said.get("weekdays") or [])
    holidays = said.get("holidays") or "any"
    if holidays not in HOLIDAYS:
        raise refused(f"{where}.holidays", f"must be one of {', '.join(HOLIDAYS)}", holidays)
    first, last = (_day(f"{where}.{end}", said.get(end)) for end in ("from", "to"))
    if first is not None and last is not None and last < first:
        raise refused(f"{where}.to", "lies before `from`", said["to"])
    same_day, next_day = minutes_of(hours)
    return Schedule(
        hours=hours,
        weekdays=weekdays,
        holidays=holidays,
        first_day=first,
        last_day=last,
        same_day=same_day,
        next_day=next_day,
    )


def parse_hours(where: str, said: Any) -> tuple[tuple[int, int], ...]:
    """[["22:00","05:00"], ...] as minutes; an empty list stays empty (the whole day)."""
    pairs = checked_list(where, said, HOURS_MAX)
    hours = []
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise refused(where, 'must hold pairs like ["00:00","06:00"]', pair)
        begin, end = (_minute(where, text) for text in pair)
        if begin == MINUTES_OF_DAY:
            raise refused(where, "must not begin at 24:00", pair[0])
        if begin == end:
            raise refused(where, "must not begin and end at the same minute", pair)
        hours.append((begin, end))
    return tuple(hours)


def parse_weekdays(where: str, said: Any) -> frozenset[int]:
    """Days 1 Monday .. 7 Sunday; an empty list means all."""
    days = checked_list(where, said, 7)
    for day in days:
        if isinstance(day, bool) or not isinstance(day, int) or not 1 <= day <= 7:
            raise refused(where, "must hold whole numbers from 1 (Monday) to 7", day)
    return frozenset(days) or frozenset(range(1, 8))


def minutes_of(hours: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """The minutes of the day on which the hours begin, and of the day after; no hours: the whole day."""
    same_day, next_day = np.zeros(MINUTES_OF_DAY, bool), np.zeros(MINUTES_OF_DAY, bool)
    if not hours:
        same_day[:] = True
    for begin, end in hours:
        if end > begin:
            same_day[begin:end] = True
        else:
            same_day[begin:] = True
            next_day[:end] = True
    return same_day, next_day


def _minute(where: str, text: Any) -> int:
    if isinstance(text, str) and len(text) == 5 and text[2] == ":" and text.isascii():
        hour, minute = text[:2], text[3:]
        if hour.isdigit() and minute.isdigit() and int(minute) < 60:
            found = int(hour) * 60 + int(minute)
            if found <= MINUTES_OF_DAY:
                return found
    raise refused(where, "must be an hour from 00:00 to 24:00", text)


def _day(where: str, text: Any) -> int | None:
    if text is None or text == "":
        return None
    if not isinstance(text, str) or len(text) != 10:
        raise refused(where, "must be a day like 2026-02-17", text)
    try:
        return day_number(date.fromisoformat(text))
    except ValueError as error:
        raise refused(where, "must be a day like 2026-02-17", text) from error
