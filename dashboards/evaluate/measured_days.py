"""Measured days in the format of FT-AED (lane-level radar each 30 s, crash reports), for an evaluation on real data.

One CSV file, `*.csv` in the folder, with the columns time_unix (or unix_time), milemarker, lane, speed (mph), volume
(vehicles in 30 s), occupancy (per cent), crash_record and, where there is one, human_label; or the same in the wide
form, lane1_speed, lane1_volume, lane1_occ, lane2_speed ... Mile markers fall in the direction of travel (towards the
town) unless a file `direction.txt` beside it says `rising`. Every other day is for tuning, the rest is reported on.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dashboards.evaluate.trials import Incident, Trial, sensors_of
from traffic.errors import SettingsError
from traffic.network import EXPRESSWAY, Link, Road
from traffic.roads.model import build_network

KM_OF_MILE = 1.609344
INTERVAL_S = 30
CRASH_S = 1_800.0  # how long a reported crash is taken to last
BEFORE_REPORT_S = 900.0  # reports come late: an alarm so long before one has found it
DAY_S = 86_400
ROWS_MAX = 20_000_000
_LANE = re.compile(r"lane(\d+)_(speed|volume|occ|occupancy)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one lane said in one interval."""

    at_s: int
    mile: float
    speed_mph: float
    volume: float
    occupancy: float
    crash: bool


def split(folder: Path) -> tuple[list[Trial], list[Trial], str]:
    """Trials for tuning and for reporting, and what they are. Raises SettingsError."""
    files = sorted(folder.glob("*.csv")) if folder.is_dir() else []
    if not files:
        raise SettingsError(f"data: there is no CSV file in {folder}")
    rising = (folder / "direction.txt").is_file() and (folder / "direction.txt").read_text().strip() == "rising"
    days = days_of([row for file in files for row in rows_of(file)], rising=rising)
    if len(days) < 2:
        raise SettingsError(f"data: at least two days are needed, {folder} has {len(days)}")
    said = f"MEASURED: {', '.join(file.name for file in files)}, {len(days)} days; every other day for tuning"
    return days[::2], days[1::2], said


def rows_of(file: Path) -> Iterator[Row]:
    """Rows of a file in either form. Raises SettingsError naming the line."""
    with file.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        names = set(reader.fieldnames or ())
        time_name = next((name for name in ("time_unix", "unix_time") if name in names), None)
        wide = sorted({int(match[1]) for name in names if (match := _LANE.fullmatch(name))})
        if time_name is None or "milemarker" not in names or not (wide or {"speed", "volume", "occupancy"} <= names):
            raise SettingsError(
                f"data: {file.name} has not the columns of FT-AED, but {', '.join(sorted(names))[:200]}"
            )
        for number, entry in enumerate(reader, 2):
            if number > ROWS_MAX:
                raise SettingsError(f"data: {file.name} has more than {ROWS_MAX:,} rows")
            try:
                yield from _row(entry, time_name, wide)
            except (ValueError, TypeError) as error:
                raise SettingsError(f"data: {file.name}, line {number}: {error}") from error


def _row(entry: dict[str, str], time_name: str, wide: list[int]) -> Iterator[Row]:
    crash = float(entry.get("crash_record") or 0) > 0
    occ = "occ" if wide and f"lane{wide[0]}_occ" in entry else "occupancy"
    lanes = [tuple(f"lane{n}_{name}" for name in ("speed", "volume", occ)) for n in wide]
    for speed, volume, occupancy in lanes or [("speed", "volume", "occupancy")]:
        yield Row(
            at_s=int(float(entry[time_name])),
            mile=float(entry["milemarker"]),
            speed_mph=float(entry[speed] or "nan"),
            volume=float(entry[volume] or "nan"),
            occupancy=float(entry[occupancy] or "nan"),
            crash=crash,
        )


def days_of(rows: list[Row], *, rising: bool) -> list[Trial]:
    """A trial for each day: stations in the direction of travel, lanes of a station taken together."""
    if not rows:
        return []
    at_s = np.array([row.at_s for row in rows])
    mile = np.array([row.mile for row in rows])
    speed = np.array([row.speed_mph for row in rows]) * KM_OF_MILE
    volume = np.array([row.volume for row in rows])
    occupancy = np.array([row.occupancy for row in rows])
    crash = np.array([row.crash for row in rows])
    places = np.unique(mile) if rising else np.unique(mile)[::-1]
    at_m = np.abs(places - places[0]) * KM_OF_MILE * 1000
    station = np.argmax(mile[:, None] == places[None, :], axis=1) if len(places) < 500 else _station(mile, places)
    trials = []
    for day in np.unique(at_s // DAY_S):
        mine = at_s // DAY_S == day
        begin_s = int(at_s[mine].min())
        column = (at_s[mine] - begin_s) // INTERVAL_S
        shape = (len(places), int(column.max()) + 1)
        sums = [np.zeros(shape) for _ in range(5)]  # vehicles, their speeds, occupancies, lanes, lanes with a count
        v, s, o = volume[mine], speed[mine], occupancy[mine]
        cell = (station[mine], column)
        counted, driven, told = ~np.isnan(v), ~np.isnan(v) & ~np.isnan(s) & (v > 0), ~np.isnan(o)
        for total, chosen, values in zip(
            sums, (counted, driven, told, told, counted), (v, v * s, o, np.ones(len(v)), np.ones(len(v))), strict=True
        ):
            np.add.at(total, (cell[0][chosen], cell[1][chosen]), values[chosen])
        vehicles, weighted, occupied, lanes, heard = sums
        trials.append(
            _trial(
                f"measured-{int(day)}", at_m,
                np.where(vehicles > 0, weighted / np.maximum(vehicles, 1e-9), np.nan),
                np.where(heard > 0, vehicles * 3600 / INTERVAL_S, np.nan),
                np.where(lanes > 0, occupied / np.maximum(lanes, 1), np.nan),
                _crashes(station[mine][crash[mine]], at_s[mine][crash[mine]] - begin_s, at_m),
            )
        )  # fmt: skip
    return trials


def _station(mile: np.ndarray, places: np.ndarray) -> np.ndarray:
    order = np.argsort(places)
    return order[np.searchsorted(places[order], mile)]


def _crashes(station: np.ndarray, at_s: np.ndarray, at_m: np.ndarray) -> tuple[Incident, ...]:
    """One incident for marks that lie within CRASH_S of each other, where and when it was marked first."""
    found: list[Incident] = []
    newest_s = -np.inf
    for when, place in sorted(zip(at_s.tolist(), station.tolist(), strict=True)):
        if when - newest_s > CRASH_S:
            found.append(
                Incident(
                    road=1, at_m=float(at_m[place]), x=float(at_m[place]), y=0.0,
                    begin_s=max(0.0, when - BEFORE_REPORT_S), end_s=when + CRASH_S, lanes_blocked=1, lanes=4,
                )
            )  # fmt: skip
        newest_s = when
    return tuple(found)


def _trial(  # noqa: PLR0913 - the columns of a day
    name: str,
    at_m: np.ndarray,
    speed: np.ndarray,
    flow: np.ndarray,
    occupancy: np.ndarray,
    crashes: tuple[Incident, ...],
) -> Trial:
    """One road, a link from each station to the next with the station at its begin."""
    ends = np.append(at_m[1:], at_m[-1] + 500.0)
    links = [
        Link(
            id=n + 1, road_id=1, direction=1, from_stake_m=round(begin), to_stake_m=max(round(begin) + 1, round(end)),
            length_m=max(1, round(end - begin)), lanes=4, limit_kmh=113, unit_id=1, geometry=((0.0, 0.0), (0.001, 0.0)),
            from_node=n + 1, to_node=n + 2,
        )
        for n, (begin, end) in enumerate(zip(at_m.tolist(), ends.tolist(), strict=True))
    ]  # fmt: skip
    road = Road(id=1, code="R1", name="R1", name_en="R1", kind=EXPRESSWAY, approximate=True)
    network = build_network([road], links)
    return Trial(
        name=name, network=network, sensors=sensors_of(network, np.arange(len(at_m)), np.zeros(len(at_m))),
        at_m=at_m, x=at_m, y=np.zeros(len(at_m)), speed_kmh=speed, flow_vph=flow, occupancy=occupancy,
        incidents=crashes,
    )  # fmt: skip
