"""The first statement of a batch, asked of PostgreSQL itself: only the owner of now, standing where it believes to."""

import psycopg
import pytest

from traffic import commit
from traffic.errors import LeaseLost
from traffic.lease import Held, Leases


def own(connection: psycopg.Connection) -> Held:
    (held,) = Leases("first", partitions=4).acquire(connection, 1)
    return held


def moved_by(held: Held) -> dict:
    here = (held.generation, held.offset)
    return {held.id: (here, (held.generation, held.offset + 1))}


def test_the_owner_moves_its_partition_on(owner: psycopg.Connection) -> None:
    held = own(owner)
    commit.advance(owner, {held.id: held}, moved_by(held), None)
    assert owner.execute("SELECT bus_offset FROM partition WHERE id = %s", [held.id]).fetchone() == (held.offset + 1,)


@pytest.mark.parametrize("stale", ["epoch", "offset", "generation"])
def test_one_who_stands_anywhere_else_moves_nothing(owner: psycopg.Connection, stale: str) -> None:
    held = own(owner)
    before = owner.execute("SELECT bus_offset, generation FROM partition WHERE id = %s", [held.id]).fetchone()
    setattr(held, stale, getattr(held, stale) - 1)
    with pytest.raises(LeaseLost):
        commit.advance(owner, {held.id: held}, moved_by(held), None)
    after = owner.execute("SELECT bus_offset, generation FROM partition WHERE id = %s", [held.id]).fetchone()
    assert after == before
