"""How alarms are held against the truth, the published methods on made-up stations, and measured days from files."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dashboards.evaluate import measured_days
from dashboards.evaluate.alarm_scores import Alarm, grouped, score, together
from dashboards.evaluate.incidents import Options, measure, our_alarms, usual_of
from dashboards.evaluate.reference_methods import California8, NormalDeviate, california8, normal_deviate
from dashboards.evaluate.trials import Incident, Trial, sensors_of
from tests.stretches import straight
from traffic.errors import SettingsError
from traffic.roads.incidents import IncidentRule

INTERVALS = 120


def trial(*incidents: Incident) -> Trial:
    """Four stations a kilometre apart on road 1, an hour of free traffic."""
    network, rng = straight(4), np.random.default_rng(3)
    row = np.arange(4)
    at_m = 1000.0 * row + 500
    return Trial(
        name="made-1", network=network, sensors=sensors_of(network, row, np.full(4, 0.5)), at_m=at_m, x=at_m,
        y=np.zeros(4), speed_kmh=rng.normal(100, 3, (4, INTERVALS)), flow_vph=rng.normal(3000, 200, (4, INTERVALS)),
        occupancy=rng.normal(8, 0.5, (4, INTERVALS)), incidents=incidents,
    )  # fmt: skip


def blocked(made: Trial, *, up: int, begin: int, end: int) -> Trial:
    """A queue stands at station `up` in some intervals, little comes through behind it."""
    speed, flow, occupancy = made.speed_kmh.copy(), made.flow_vph.copy(), made.occupancy.copy()
    speed[up, begin:end], occupancy[up, begin:end] = 12.0, 55.0
    flow[up:, begin:end] = 1_000.0
    occupancy[up + 1 :, begin:end] = 3.0
    return replace(made, speed_kmh=speed, flow_vph=flow, occupancy=occupancy)


def incident(*, at_m: float = 1_900.0, begin_s: float = 1_800.0, end_s: float = 2_700.0) -> Incident:
    """Between the second and the third station."""
    return Incident(road=1, at_m=at_m, x=at_m, y=0.0, begin_s=begin_s, end_s=end_s, lanes_blocked=2, lanes=3)


def alarm(at_s: float, tail_m: float, head_m: float | None = None) -> Alarm:
    """On road 1."""
    head_m = tail_m if head_m is None else head_m
    return Alarm(at_s=at_s, road=1, tail_m=tail_m, head_m=head_m, x=tail_m, y=0.0)


def test_an_alarm_in_time_and_place_has_found_it_and_others_are_false_or_follow() -> None:
    made = trial(incident())
    got = score(made, [alarm(1_980, 1_500, 2_500), alarm(2_600, 500), alarm(1_200, 3_500), alarm(3_590, 3_500)])
    assert (got.incidents, got.delays_s, got.false, got.repeated) == (1, (180.0,), 2, 1)
    assert got.minutes_to_detect == 3.0 and got.precision == pytest.approx(1 / 3)
    assert got.link_days == pytest.approx(3 * 2_700 / 86_400)


def test_an_alarm_before_or_long_after_is_false() -> None:
    got = score(trial(incident()), [alarm(1_790, 1_500), alarm(3_400, 1_500)])
    assert (got.delays_s, got.false) == ((), 2)


def test_an_incident_beyond_the_last_station_is_not_counted() -> None:
    assert score(trial(incident(at_m=3_900.0)), []).incidents == 0


def test_alarms_near_to_each_other_are_one_and_scores_add_up() -> None:
    assert grouped([alarm(1_000, 500), alarm(1_200, 1_500), alarm(1_400, 2_500), alarm(1_900, 500)]) == [
        alarm(1_000, 500), alarm(1_900, 500),
    ]  # fmt: skip
    one, none = score(trial(incident()), [alarm(1_830, 1_500)]), score(trial(), [alarm(1_830, 1_500)])
    both = together([one, none])
    assert (both.incidents, both.detection_rate, both.false) == (1, 1.0, 1)


def test_every_method_finds_a_plain_incident_and_is_quiet_on_a_plain_hour() -> None:
    free, jammed = trial(), blocked(trial(incident()), up=1, begin=62, end=90)
    california = California8(difference=12.0, wave=-0.6, relative=0.5, fall=0.15, downstream=30.0)
    deviate = NormalDeviate(deviations=8.0, minutes=5, of_speed=True)
    for name, quiet, alarms in (
        ("ours", our_alarms(free, IncidentRule(), {}), our_alarms(jammed, IncidentRule(), {})),
        ("california 8", california8(free, california), california8(jammed, california)),
        ("normal deviate", normal_deviate(free, deviate), normal_deviate(jammed, deviate)),
    ):
        assert not quiet, name
        got = score(jammed, alarms)
        assert got.detection_rate == 1.0 and got.false == 0, name
        assert 0 < (got.minutes_to_detect or 0) <= 6, name


def test_california_8_is_silent_for_five_minutes_after_a_wave_downstream() -> None:
    made = blocked(trial(incident()), up=1, begin=62, end=90)
    occupancy = made.occupancy.copy()
    occupancy[2, 60:62] = 45.0  # a wave passes the downstream station just before
    rule = California8(difference=12.0, wave=-0.6, relative=0.5, fall=0.15, downstream=30.0)
    before = california8(made, rule)[0].at_s
    assert all(one.at_s >= before + 210 for one in california8(replace(made, occupancy=occupancy), rule))


def test_what_is_usual_is_the_median_of_the_tuning_trials() -> None:
    trials = [replace(trial(), speed_kmh=np.full((4, INTERVALS), speed)) for speed in (40.0, 50.0, 90.0)]
    assert all(np.allclose(values, 50.0) for values in usual_of(trials).values())


# ---------------------------------------------------------------- measured days
def write_days(folder: Path, *, days: int = 2, wide: bool = False) -> None:
    """Two hours a day at three mile markers and two lanes; on each day a crash with its queue after an hour."""
    rng = np.random.default_rng(5)
    rows = []
    for day in range(days):
        for interval in range(240):
            for number, mile in enumerate((62.0, 61.4, 60.8)):
                slow = 122 <= interval < 160 and number == 1
                speed = [10.0 if slow else 65.0 + rng.normal() for _ in (1, 2)]
                volume = [3.0 if 122 <= interval < 160 and number else 12.0 + rng.normal() for _ in (1, 2)]
                common = {
                    "time_unix": 1_696_000_000 + day * 86_400 + interval * 30, "milemarker": mile,
                    "crash_record": int(interval == 130 and number == 1),
                }  # fmt: skip
                occupancy = 50.0 if slow else 8.0
                if wide:
                    lanes = {f"lane{n}_speed": speed[n - 1] for n in (1, 2)}
                    lanes |= {f"lane{n}_volume": volume[n - 1] for n in (1, 2)} | {
                        f"lane{n}_occ": occupancy for n in (1, 2)
                    }
                    rows.append(common | lanes)
                else:
                    rows += [
                        common | {"lane": n, "speed": speed[n - 1], "volume": volume[n - 1], "occupancy": occupancy}
                        for n in (1, 2)
                    ]
    with (folder / "days.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize("wide", [False, True])
def test_measured_days_become_trials(tmp_path: Path, wide: bool) -> None:
    write_days(tmp_path, wide=wide)
    tuning, reporting, said = measured_days.split(tmp_path)
    assert (len(tuning), len(reporting)) == (1, 1) and said.startswith("MEASURED")
    day = reporting[0]
    assert np.allclose(day.at_m, [0.0, 965.6, 1931.2], atol=0.1)
    assert day.speed_kmh.shape == (3, 240) and np.nanmedian(day.speed_kmh) == pytest.approx(104.6, abs=1)
    assert np.nanmedian(day.flow_vph) == pytest.approx(2_880, abs=100)
    (crash,) = day.incidents
    assert crash.at_m == pytest.approx(965.6, abs=0.1) and crash.begin_s == 130 * 30 - 900


def test_the_whole_evaluation_runs_on_measured_days(tmp_path: Path) -> None:
    write_days(tmp_path)
    result = measure(Options(data=str(tmp_path)), lambda line: None)
    assert result.details["incidents"] == 1 and result.details["data"].startswith("MEASURED")
    assert result.details["as_installed"]["all"]["found"] == 1
    assert set(result.details["at_false_rates"]) == {"ours", "california_8", "standard_normal_deviate"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a,b\n1,2\n", "has not the columns of FT-AED"),
        ("time_unix,milemarker,lane,speed,volume,occupancy,crash_record\nx,60,1,60,5,8,0\n", "days.csv, line 2"),
        ("time_unix,milemarker,lane,speed,volume,occupancy,crash_record\n0,60,1,60,5,8,0\n", "at least two days"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "days.csv").write_text(text)
    with pytest.raises(SettingsError, match=sentence):
        measured_days.split(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no CSV file"):
        measured_days.split(tmp_path)
