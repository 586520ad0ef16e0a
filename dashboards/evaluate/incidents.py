"""How well incidents are found: ours beside California algorithm #8 and the standard normal deviate.

Thresholds of every method are chosen on trials with tuning seeds and held against trials with other seeds, at the same
rates of false alarms. Simulated on two networks of the eclipse-sumo wheel, or measured days (`data=FOLDER`).
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dashboards.bench.measured import Measured, Measurement, Progress, Reference
from dashboards.evaluate import measured_days
from dashboards.evaluate.alarm_scores import Alarm, Score, monitored, score, together
from dashboards.evaluate.reference_methods import (
    california8,
    california_settings,
    deviate_settings,
    normal_deviate,
)
from dashboards.evaluate.trials import Trial, is_kept, read, simulate
from traffic.errors import SettingsError
from traffic.roads import incidents
from traffic.roads.incidents import IncidentRule, Memory
from traffic.roads.model import Inputs, Level, Picture, RoadNetwork

GROUNDS = ("motorway", "town")
PER_TRIAL = 9  # incidents
FREE_OF = 3  # a trial without incidents, but with slow convoys, for each so many with
TUNING_SEED, REPORTING_SEED = 1_001, 2_001
FALSE_RATES = (0.5, 1.0, 2.0, 5.0, 10.0)  # per link-day, at which methods are compared
AT_RATE = 2.0  # of `value` and `reference`
SENSITIVITIES = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6)  # times our thresholds
QUARTER_S = 900


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`incidents`: reported on, over both networks; `tuning`: for thresholds. `trials`: keeps simulations in a folder.

    `data`: a folder with measured days instead (see docs/evaluations.md).
    """

    incidents: int = 108
    tuning: int = 54
    processes: int = 2
    trials: str = ""
    data: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A way to raise alarms with one setting."""

    setting: Any
    alarms: Callable[[Trial], list[Alarm]]


def measure(options: Options, progress: Progress) -> Measured:
    """Make or read the trials, choose thresholds on some, report on the others."""
    if options.data:
        tuning, reporting, said = measured_days.split(Path(options.data))
    elif options.trials:
        tuning, reporting, said = _simulated(options, Path(options.trials), progress)
    else:
        with tempfile.TemporaryDirectory(prefix="traffic-trials-") as folder:
            tuning, reporting, said = _simulated(options, Path(folder), progress)
    progress(f"{len(tuning)} trials for tuning, {len(reporting)} to report on")
    usual = usual_of(tuning)
    families = {"ours": ours(usual), "california_8": _california(), "standard_normal_deviate": _deviate()}
    curves = {}
    for name, methods in families.items():
        curves[name] = curve(methods, tuning, reporting)
        progress(f"{name}: {curves[name][str(AT_RATE)]}")
    best = max(("california_8", "standard_normal_deviate"), key=lambda name: _rate(curves[name]))
    return Measured(
        name="incidents",
        value=_rate(curves["ours"]),
        unit=f"detection rate at {AT_RATE:g} false alarms per link-day",
        reference=Reference(name=best.replace("_", " "), value=_rate(curves[best])),
        details={
            "data": said,
            "incidents": sum(len(monitored(trial)) for trial in reporting),
            "unmonitored": sum(len(trial.incidents) - len(monitored(trial)) for trial in reporting),
            "link_days": round(sum(_days(trial) for trial in reporting), 2),
            "as_installed": as_installed(usual, reporting),
            "without_history": together([score(t, our_alarms(t, IncidentRule(), {})) for t in reporting]).as_details(),
            "at_false_rates": curves,
            "options": msgspec.to_builtins(options),
        },
    )


def _rate(curve_: dict[str, Any]) -> float:
    return float(curve_[str(AT_RATE)]["detection_rate"])


def _days(trial: Trial) -> float:
    return score(trial, []).link_days


def _simulated(options: Options, folder: Path, progress: Progress) -> tuple[list[Trial], list[Trial], str]:
    """Trials of both networks; those that a kept folder holds already are not simulated again."""
    tuning = _wanted(options.tuning, TUNING_SEED)
    reporting = _wanted(options.incidents, REPORTING_SEED)
    if not tuning or not reporting:
        raise SettingsError("incidents and tuning must each be at least 1")
    missing = [one for one in tuning + reporting if not is_kept(_place(folder, one), one)]
    simulate(missing, folder, max(1, options.processes), progress)
    said = (
        "SIMULATED: SUMO on the networks A10KW (motorway) and DRT (town) of the eclipse-sumo wheel, loops each "
        "300 m, reports each 30 s, demand with a peak, slow convoys in trials without incidents; "
        f"tuning seeds {_seeds(tuning)}, reporting seeds {_seeds(reporting)}; no claim about real incidents"
    )
    return [read(_place(folder, one)) for one in tuning], [read(_place(folder, one)) for one in reporting], said


def _place(folder: Path, one: dict[str, Any]) -> Path:
    return folder / f"{one['ground']}-{one['seed']}"


def _seeds(wanted: Sequence[dict[str, Any]]) -> str:
    seeds = sorted({one["seed"] for one in wanted})
    return f"{seeds[0]}-{seeds[-1]}"


def _wanted(incidents_many: int, first_seed: int) -> list[dict[str, Any]]:
    """Trials with incidents, then some without; the same seeds on both networks."""
    many = -(-incidents_many // (PER_TRIAL * len(GROUNDS)))
    free = -(-many // FREE_OF)
    wanted = [{"incidents": PER_TRIAL, "convoys": 0}] * many + [{"incidents": 0, "convoys": 2}] * free
    return [
        {"ground": ground, "seed": first_seed + number} | one for number, one in enumerate(wanted) for ground in GROUNDS
    ]


# ---------------------------------------------------------------- ours
def usual_of(tuning: Sequence[Trial]) -> dict[tuple[bytes, int], np.ndarray]:
    """Median speed of each link in each quarter of an hour over the tuning trials: what history would know."""
    seen: dict[tuple[bytes, int], list[np.ndarray]] = {}
    for trial in tuning:
        for quarter in range(trial.speed_kmh.shape[1] * 30 // QUARTER_S):
            columns = trial.speed_kmh[:, quarter * 30 : (quarter + 1) * 30]
            known = ~np.isnan(columns)
            mean = np.where(known, columns, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
            of_link = np.full(len(trial.network), np.nan)
            of_link[trial.sensors.link] = np.where(known.any(axis=1), mean, np.nan)
            seen.setdefault((_key(trial.network), quarter), []).append(of_link)
    usual = {}
    for key, values in seen.items():
        stacked = np.stack(values)
        known = ~np.isnan(stacked)
        median = np.ma.median(np.ma.masked_array(stacked, ~known), axis=0)
        usual[key] = np.where(known.any(axis=0), np.ma.filled(median, np.nan), np.nan)
    return usual


def _key(network: RoadNetwork) -> bytes:
    """The same network in several trials."""
    return network.road.tobytes() + network.to_stake_m.tobytes()


def our_alarms(trial: Trial, rule: IncidentRule, usual: dict[tuple[bytes, int], np.ndarray]) -> list[Alarm]:
    """New incidents as alarms."""
    memory = Memory.new(trial.network, trial.sensors)
    nothing, alarms, key = _no_picture(trial.network), [], _key(trial.network)
    for at_s, window in trial.windows():
        inputs = Inputs(usual_kmh=usual.get((key, (at_s - 1) // QUARTER_S)))
        for event in incidents.detect(
            trial.network, trial.sensors, window, nothing, memory, rule, now_us=int(window.ends_us[-1]), inputs=inputs
        ):
            if event.change == "new":
                middle = (event.head_stake_m + event.tail_stake_m) / 2
                mine = np.flatnonzero(trial.road == event.road)
                nearest = mine[int(np.abs(trial.at_m[mine] - middle).argmin())]
                alarms.append(
                    Alarm(
                        at_s=at_s, road=event.road, tail_m=event.tail_stake_m, head_m=event.head_stake_m,
                        x=float(trial.x[nearest]), y=float(trial.y[nearest]),
                    )
                )  # fmt: skip
    return alarms


def _no_picture(network: RoadNetwork) -> Picture:
    """No travel times: stations alone tell."""
    unknown = np.full(len(network), np.nan)
    return Picture(
        at_us=0, observed_us=np.zeros(len(network), np.int64), level=np.full(len(network), Level.UNKNOWN, np.int8),
        speed_kmh=unknown, flow_vph=unknown, density_vkm=unknown, travel_s=unknown, travel_p90_s=unknown,
        heavy_share=unknown, confidence=np.zeros(len(network)), sources=np.zeros(len(network), np.int8),
    )  # fmt: skip


def as_installed(usual: dict[tuple[bytes, int], np.ndarray], reporting: Sequence[Trial]) -> dict[str, Any]:
    """With the rule as it is delivered, over all and by network."""
    by_name: dict[str, list[Score]] = {}
    for trial in reporting:
        got = score(trial, our_alarms(trial, IncidentRule(), usual))
        for name in ("all", trial.name.rpartition("-")[0]):
            by_name.setdefault(name, []).append(got)
    return {name: together(scores).as_details() for name, scores in by_name.items()}


def ours(usual: dict[tuple[bytes, int], np.ndarray]) -> list[Method]:
    """Our rule with all thresholds raised or lowered together."""
    rule = IncidentRule()

    def at(times: float, trial: Trial) -> list[Alarm]:
        moved = replace(rule, pair_sum=rule.pair_sum * times, station_sum=rule.station_sum * times)
        return our_alarms(trial, moved, usual)

    return [Method(setting=times, alarms=partial(at, times)) for times in SENSITIVITIES]


def _california() -> list[Method]:
    return [Method(setting=one, alarms=partial(california8, rule=one)) for one in california_settings()]


def _deviate() -> list[Method]:
    return [Method(setting=one, alarms=partial(normal_deviate, rule=one)) for one in deviate_settings()]


# ---------------------------------------------------------------- curves
def curve(methods: Sequence[Method], tuning: Sequence[Trial], reporting: Sequence[Trial]) -> dict[str, Any]:
    """At each rate of false alarms the setting that found most on the tuning trials, and what it does on the others."""
    tuned = [(method, together([score(trial, method.alarms(trial)) for trial in tuning])) for method in methods]
    told: dict[str, Any] = {}
    reported: dict[int, Score] = {}
    for rate in FALSE_RATES:
        fitting = [n for n, (_, got) in enumerate(tuned) if got.false_per_link_day <= rate]
        if not fitting:
            told[str(rate)] = {"detection_rate": 0.0, "setting": "none keeps this rate"}
            continue
        best = max(fitting, key=lambda n: (tuned[n][1].detection_rate, -tuned[n][1].false_per_link_day))
        if best not in reported:
            method = tuned[best][0]
            reported[best] = together([score(trial, method.alarms(trial)) for trial in reporting])
        told[str(rate)] = reported[best].as_details() | {"setting": _words(tuned[best][0].setting)}
    return told


def _words(setting: Any) -> Any:
    return setting if isinstance(setting, float) else repr(setting)


EVALUATION = Measurement(describe="incidents found, beside two published methods", options=Options, measure=measure)
