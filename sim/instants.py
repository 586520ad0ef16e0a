"""Times as the native doors take them. Pure."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from traffic.zone import SHANGHAI

_BEGIN = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=256)
def rfc3339(at_us: int) -> str:
    """RFC 3339 with the offset of Beijing."""
    return (_BEGIN + timedelta(microseconds=at_us)).astimezone(SHANGHAI).isoformat(timespec="milliseconds")
