"""What is usual on each link at this time of such a day, from the roll-ups."""

import numpy as np
import psycopg
from psycopg import sql

from traffic.binary_copy import Columns
from traffic.buckets import like_quarters
from traffic.database import queries
from traffic.roads.model import RoadNetwork
from traffic.store import when

SQL = queries("traffic", "rollups.sql")
USUAL_DAYS = 28
_USUAL = Columns(np.dtype([("link", "<i4"), ("days", "<i8"), ("kmh", "<f8"), ("vph", "<f8")]), times=())


def usual(
    connection: psycopg.Connection, network: RoadNetwork, *, at_us: int, days: int = USUAL_DAYS
) -> tuple[np.ndarray, np.ndarray]:
    """Speed (km/h) and flow (vehicles/h) of each link, in the network's order, usual in this quarter of an hour.

    Medians over the same quarter of the days before that are like today (working days, or weekends); NaN: not known.
    """
    buckets = [when(us) for us in like_quarters(at_us, days=days)]
    statement = sql.SQL(SQL["usual"]).format(buckets=sql.Literal(buckets))  # type: ignore[arg-type]
    found = _USUAL.copy_out(connection, statement)
    kmh, vph = np.full(len(network), np.nan), np.full(len(network), np.nan)
    rows = network.rows_of(found["link"].astype(np.int64))
    known = rows >= 0
    kmh[rows[known]], vph[rows[known]] = found["kmh"][known], found["vph"][known]
    return kmh, vph
