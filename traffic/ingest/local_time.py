"""Times without zone (yyyyMMddHHmmss, also with milliseconds) in a device's time zone -> microseconds UTC."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from traffic.ingest.checks import NO_TIME

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR_US = 3_600_000_000
# Forms in the wild: 20261124080910, 20261124080910123, 20261124080910.123, 2026-11-24 08:09:10.123, with an offset.
_FORM = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)[ T]?(\d\d):?(\d\d):?(\d\d)(?:[.,]?(\d{1,9}))?(Z|[+-]\d\d:?\d\d)?", re.ASCII
)


def parse_local(texts: list[str], zone: ZoneInfo) -> np.ndarray:
    """Microseconds since 1970 UTC of each text (int64); NO_TIME where it is no time."""
    if not texts:
        return np.empty(0, np.int64)
    digits = [text + "000" if len(text) == 14 else text for text in texts]
    joined = "".join(digits)
    if set(map(len, digits)) == {17} and joined.isascii() and joined.isdigit():
        return _parse_digits(joined, len(digits), zone)
    return np.array([_parse_one(text, zone) for text in texts], np.int64)


def _parse_digits(joined: str, count: int, zone: ZoneInfo) -> np.ndarray:
    """Texts of 17 digits each, all at once."""
    digits = (np.frombuffer(joined.encode(), np.uint8) - ord("0")).reshape(count, 17).astype(np.int64)

    def part(start: int, length: int) -> np.ndarray:
        return digits[:, start : start + length] @ (10 ** np.arange(length - 1, -1, -1))

    year, month, day = part(0, 4), part(4, 2), part(6, 2)
    hour, minute, second, milli = part(8, 2), part(10, 2), part(12, 2), part(14, 3)
    months = (year - 1970) * 12 + np.clip(month, 1, 12) - 1
    first = months.astype("M8[M]").astype("M8[D]")
    length = ((months + 1).astype("M8[M]").astype("M8[D]") - first).astype(np.int64)
    right = (year >= 1970) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= length)
    right &= (hour <= 23) & (minute <= 59) & (second <= 59)
    seconds = ((first.astype(np.int64) + day - 1) * 24 + hour) * 3600 + minute * 60 + second
    local_us = np.where(right, seconds * 1_000_000 + milli * 1000, 0)
    return np.where(right, local_us - _offsets_us(local_us, zone), NO_TIME)


def _offsets_us(local_us: np.ndarray, zone: ZoneInfo) -> np.ndarray:
    """Offset of the zone at each local time; zones change theirs on the hour, so one look an hour is enough."""
    hours, place = np.unique(local_us // _HOUR_US, return_inverse=True)
    offsets = [_offset_us(int(hour) * _HOUR_US, zone) for hour in hours]
    return np.array(offsets, np.int64)[place]


def _offset_us(local_us: int, zone: ZoneInfo) -> int:
    local = (_EPOCH + timedelta(microseconds=local_us)).replace(tzinfo=zone)
    return (local.utcoffset() or timedelta(0)) // timedelta(microseconds=1)


def _parse_one(text: str, zone: ZoneInfo) -> int:
    match = _FORM.fullmatch(text.strip())
    if not match:
        return NO_TIME
    fraction = int((match[7] or "0")[:6].ljust(6, "0"))
    try:
        year, month, day, hour, minute, second = map(int, match.groups()[:6])
        local = datetime(year, month, day, hour, minute, second, fraction, tzinfo=UTC)
    except ValueError:
        return NO_TIME
    if local.year < 1970:
        return NO_TIME
    local_us = (local - _EPOCH) // timedelta(microseconds=1)
    return local_us - (_written_offset_us(match[8]) if match[8] else _offset_us(local_us // _HOUR_US * _HOUR_US, zone))


def _written_offset_us(text: str) -> int:
    if text == "Z":
        return 0
    minutes = int(text[1:3]) * 60 + int(text[-2:])
    return (-1 if text[0] == "-" else 1) * minutes * 60_000_000
