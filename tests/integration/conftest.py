"""What many tests on real services begin with."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.workbench import Bench
from tests.world import World
from traffic.settings import Settings


@pytest.fixture
def bench(settings: Settings, owner: psycopg.Connection, world: World) -> Iterator[Bench]:
    """The bus of this test's own, with the tiny province in the database."""
    bench = Bench(settings, owner)
    yield bench
    bench.close()
