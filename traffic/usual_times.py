"""Usual times between checkpoints: learned beside a worker's loop, read for the rules.

Learned are speeds of links by the local hour and times over measured sections. Middle values and those of quick days
are taken, which single wrong times move by nothing: so clones, whose impossible times are among them, do not make
themselves possible.
"""

from datetime import timedelta

import numpy as np
import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from traffic.binary_copy import Columns
from traffic.database import queries
from traffic.limits import USUAL_CHECKPOINTS_MAX, USUAL_DAYS, USUAL_EVERY_S
from traffic.network import Link
from traffic.store import when
from traffic.vehicles.checkpoints import Checkpoints
from traffic.vehicles.usual_paths import SPREAD_MIN, LinkSpeeds, composed
from traffic.vehicles.usual_times import HOURS, USUAL, UsualTimes

SQL = queries("traffic", "usual_times.sql")
LOCK = 7_402_117
SAMPLES_MIN = 20  # of a pair in an hour; fewer say nothing
SPREAD_OF_DRIVERS = 0.15  # where too few sections tell it: of lorries and cars on a free motorway
SECTIONS_MIN = 5
_QUICK_DAYS_TURNS = 1.2816  # nine days of ten are no quicker
_USUAL = Columns(USUAL, times=())


def load_usual_times(connection: psycopg.Connection) -> UsualTimes:
    """What was learned last; nothing before that was done for the first time."""
    names = sql.SQL(", ").join(map(sql.Identifier, _USUAL.names))
    rows = _USUAL.copy_out(connection, sql.SQL("COPY usual_time ({}) TO STDOUT (FORMAT BINARY)").format(names))
    return UsualTimes.of(rows)


def load_clock_suspects(connection: psycopg.Connection) -> frozenset[int]:
    """Checkpoints whose clock is distrusted."""
    return frozenset(number for (number,) in connection.execute(SQL["suspects"]))


def learn_if_due(connection: psycopg.Connection, *, now_us: int) -> int:
    """Learn anew what was learned too long ago or never (the connection is in autocommit); how many pairs, 0 if none.

    Any number of processes may call it; while one learns, the others find nothing to do.
    """
    with connection.transaction():
        row = connection.execute(SQL["alone"], {"lock": LOCK}).fetchone()
        if not row or not row[0]:
            return 0
        learned = connection.execute(SQL["learned_at"]).fetchone()
        since_s = (when(now_us) - learned[0]).total_seconds() if learned else USUAL_EVERY_S
        if 0 <= since_s < USUAL_EVERY_S:
            return 0
        return learn(connection, now_us=now_us)


def learn(connection: psycopg.Connection, *, now_us: int) -> int:
    """Work out every pair's usual times and put them in the place of the former ones; how many pairs."""
    checkpoints = Checkpoints.of(connection.execute(SQL["checkpoints"], {"most": USUAL_CHECKPOINTS_MAX}))
    with connection.cursor(row_factory=dict_row) as cursor:
        links = [Link(**row, geometry=()) for row in cursor.execute(SQL["links"])]
    since = when(now_us) - timedelta(days=USUAL_DAYS)
    measured, spread = _measured(connection.execute(SQL["section_times"], {"since": since}).fetchall())
    speeds = _link_speeds(links, connection.execute(SQL["link_speeds"], {"since": since}).fetchall(), spread)
    rows = composed(links, checkpoints, speeds, measured)
    connection.execute(SQL["forget"])
    _USUAL.copy_in(connection, "usual_time", rows)
    connection.execute(SQL["learned"], {"at": when(now_us)})
    connection.execute(SQL["bump"])
    return len(rows)


def _measured(rows: list[tuple]) -> tuple[np.ndarray, float]:
    """USUAL rows of measured pairs, and the spread of drivers that they show."""
    pairs: dict[tuple[int, int], np.ndarray] = {}
    for start, end, length_m, hour, samples, (median_s, quick_s) in rows:
        if samples < SAMPLES_MIN or not 0 < quick_s <= median_s:
            continue
        row = pairs.setdefault((start, end), _no_times(start, end, length_m))
        row["median_s"][0, hour], row["spread"][0, hour] = median_s, np.log(median_s / quick_s)
        row["samples"] += samples
    measured = np.concatenate(list(pairs.values())) if pairs else np.empty(0, USUAL)
    spreads = measured["spread"][np.isfinite(measured["spread"])]
    told = float(np.median(spreads)) if len(measured) >= SECTIONS_MIN else SPREAD_OF_DRIVERS
    return measured, max(told, SPREAD_MIN)


def _no_times(start: int, end: int, length_m: int) -> np.ndarray:
    row = np.zeros(1, USUAL)
    row["from_checkpoint"], row["to_checkpoint"], row["distance_m"] = start, end, length_m
    row["median_s"], row["spread"] = np.nan, np.nan
    return row


def _link_speeds(links: list[Link], rows: list[tuple], drivers: float) -> LinkSpeeds:
    """By link and hour; the spread is that of the drivers and of the days together."""
    number = {link.id: at for at, link in enumerate(links)}
    kmh, quick = np.full((len(links), HOURS), np.nan), np.full((len(links), HOURS), np.nan)
    for link, hour, (median_kmh, quick_kmh) in rows:
        if link in number and median_kmh > 0:
            kmh[number[link], hour], quick[number[link], hour] = median_kmh, max(quick_kmh, median_kmh)
    of_days = np.nan_to_num(np.log(quick / kmh), nan=0.0) / _QUICK_DAYS_TURNS
    return LinkSpeeds(median_kmh=kmh, spread=np.hypot(drivers, of_days))
