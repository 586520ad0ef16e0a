"""Registry files for tests, and taking them in as the writers' role."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import psycopg

from tests.world import CORPS, UNITS
from traffic.database import WRITER, as_role
from traffic.registry_import import File, Report, import_file
from traffic.registry_records import credit_code, identity_number
from traffic.registry_store import Ground, Origin, load_ground

PART_BYTES = 64 * 1024
COMPANY = credit_code("91220101MA17ABCD0")
LICENCE = identity_number("22010119800101123")


def code_of(unit: int) -> str:
    """The code under which tests/world.py has a unit."""
    assert unit in UNITS
    return f"2200{unit:08d}"


def csv_file(rows: Iterable[Mapping[str, object]], *, encoding: str = "utf-8", columns: Iterable[str] = ()) -> bytes:
    """A CSV file of these rows, with the columns that any of them has."""
    rows = list(rows)
    names = list(columns) or list(dict.fromkeys(name for row in rows for name in row))
    lines = [",".join(names), *(",".join(str(row.get(name, "")) for name in names) for row in rows)]
    return ("\r\n".join(lines) + "\r\n").encode(encoding)


def vehicle(number: int = 0, **fields: object) -> dict[str, object]:
    """One line of a file of vehicles."""
    return {
        "plate": f"吉A{number:05d}", "plate_class": 1, "kind": "tour_coach", "unit": code_of(CORPS),
        "inspection_until": "2027-03-31", **fields,
    }  # fmt: skip


def company(**fields: object) -> dict[str, object]:
    """One line of a file of companies."""
    return {
        "code": COMPANY, "name": "长春测试客运有限公司", "kind": "passenger", "unit": code_of(CORPS),
        "phone": "13804310000", **fields,
    }  # fmt: skip


def cut(data: bytes, part_bytes: int = PART_BYTES) -> Iterable[bytes]:
    """A file in parts."""
    return (data[start : start + part_bytes] for start in range(0, len(data), part_bytes))


class Writer:
    """Imports as the command does, with the writers' role."""

    def __init__(self, url: str, now: datetime) -> None:
        self.connection = psycopg.connect(as_role(url, WRITER), autocommit=True)
        self.now = now
        self.ground: Ground = load_ground(self.connection, now)

    def take(  # noqa: PLR0913
        self, what: str, data: bytes, *, charset: str = "", later: timedelta = timedelta(), source: str = "import",
        part_bytes: int = PART_BYTES,
    ) -> Report:  # fmt: skip
        """Take a file in as of now, or of some time `later`."""
        file = File(parts=cut(data, part_bytes), charset=charset)
        origin = Origin(source=source, as_of=self.now + later)
        return import_file(self.connection, file, Report(what=what), origin, self.ground)

    def version(self, name: str = "registry") -> int:
        """Where a version stands."""
        found = self.connection.execute("SELECT value FROM version WHERE name = %s", [name]).fetchone()
        assert found
        return int(found[0])

    def close(self) -> None:
        """Let go of the database."""
        self.connection.close()
