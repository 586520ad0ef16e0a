"""Alarms held against what really happened: detection rate, false alarms per link-day, time to detect, precision."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from dashboards.evaluate.trials import JUDGED_FROM_S, Incident, Trial

UPSTREAM_M, DOWNSTREAM_M = 800.0, 400.0  # an alarm so near to an incident has found it
AFTER_END_S = 120.0  # an alarm so soon after the end has still found it
WAKE_S = 600.0  # what follows from an incident is no false alarm: its queue moves on, other roads take the traffic
WAKE_M, WAKE_ROAD_M = 1_000.0, 4_000.0
SAME_M, SAME_S = 1_200.0, 300.0  # alarms so near to each other are one


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Raised at a time (seconds of the trial) between two places of a road (metres from its begin)."""

    at_s: float
    road: int
    tail_m: float
    head_m: float
    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Counts over some trials. `delays_s`: of each incident that was found."""

    incidents: int
    delays_s: tuple[float, ...]
    false: int
    repeated: int  # neither: alarms that follow from an incident that was found already, or from its traces
    link_days: float

    @property
    def detection_rate(self) -> float:
        """Share of incidents that were found."""
        return len(self.delays_s) / self.incidents if self.incidents else 0.0

    @property
    def false_per_link_day(self) -> float:
        """False alarms per monitored stretch (between two stations) and day."""
        return self.false / self.link_days if self.link_days else 0.0

    @property
    def minutes_to_detect(self) -> float | None:
        """Mean time from the begin of an incident to its first alarm."""
        return mean(self.delays_s) / 60 if self.delays_s else None

    @property
    def precision(self) -> float | None:
        """Share of found incidents among those and false alarms."""
        told = len(self.delays_s) + self.false
        return len(self.delays_s) / told if told else None

    def as_details(self) -> dict[str, Any]:
        """For the JSON."""
        return {
            "detection_rate": round(self.detection_rate, 3),
            "false_per_link_day": round(self.false_per_link_day, 2),
            "minutes_to_detect": None if self.minutes_to_detect is None else round(self.minutes_to_detect, 2),
            "precision": None if self.precision is None else round(self.precision, 3),
            "found": len(self.delays_s),
            "false": self.false,
            "repeated": self.repeated,
        }


def together(scores: Sequence[Score]) -> Score:
    """Of several sets of trials."""
    return Score(
        incidents=sum(score.incidents for score in scores),
        delays_s=tuple(delay for score in scores for delay in score.delays_s),
        false=sum(score.false for score in scores),
        repeated=sum(score.repeated for score in scores),
        link_days=sum(score.link_days for score in scores),
    )


def score(trial: Trial, alarms: Sequence[Alarm]) -> Score:
    """Of one trial. Only incidents between the first and the last station of their road count."""
    incidents = monitored(trial)
    found: dict[int, float] = {}
    false = repeated = 0
    for alarm in grouped(alarms):
        hit = [number for number, incident in enumerate(incidents) if _finds(alarm, incident)]
        fresh = [number for number in hit if number not in found]
        for number in fresh:
            found[number] = max(0.0, alarm.at_s - incidents[number].begin_s)
        follows = bool(hit) or any(_follows(alarm, incident) for incident in trial.incidents)
        false += not follows
        repeated += follows and not fresh
    days = (trial.speed_kmh.shape[1] * 30 - JUDGED_FROM_S) / 86_400
    return Score(
        incidents=len(incidents), delays_s=tuple(found.values()), false=false, repeated=repeated,
        link_days=stretches(trial) * days,
    )  # fmt: skip


def stretches(trial: Trial) -> int:
    """How many stretches between two neighbouring stations of one road are watched."""
    return len(trial.sensors) - len(set(trial.road.tolist()))


def monitored(trial: Trial) -> list[Incident]:
    """Incidents with a station before and behind."""
    said = []
    for incident in trial.incidents:
        places = trial.at_m[trial.road == incident.road]
        if len(places) > 1 and places.min() <= incident.at_m <= places.max():
            said.append(incident)
    return said


def grouped(alarms: Sequence[Alarm]) -> list[Alarm]:
    """Alarms of one road that lie near to each other in place and time are told once, as the first of them."""
    told: list[Alarm] = []
    newest: list[tuple[Alarm, int]] = []  # the newest alarm of each group, and which was told
    for alarm in sorted(alarms, key=lambda one: (one.at_s, one.road, one.tail_m)):
        for place, (last, number) in enumerate(newest):
            near = max(last.tail_m - alarm.head_m, alarm.tail_m - last.head_m) <= SAME_M
            if last.road == alarm.road and near and alarm.at_s - last.at_s <= SAME_S:
                newest[place] = (alarm, number)
                break
        else:
            newest.append((alarm, len(told)))
            told.append(alarm)
    return told


def _finds(alarm: Alarm, incident: Incident) -> bool:
    in_time = incident.begin_s <= alarm.at_s <= incident.end_s + AFTER_END_S
    in_place = alarm.tail_m <= incident.at_m + DOWNSTREAM_M and alarm.head_m >= incident.at_m - UPSTREAM_M
    return alarm.road == incident.road and in_time and in_place


def _follows(alarm: Alarm, incident: Incident) -> bool:
    """Whether an alarm comes from what an incident has done to traffic around it."""
    in_time = incident.begin_s <= alarm.at_s <= incident.end_s + WAKE_S
    on_road = alarm.road == incident.road and alarm.head_m >= incident.at_m - WAKE_ROAD_M
    near = (alarm.x - incident.x) ** 2 + (alarm.y - incident.y) ** 2 <= WAKE_M**2
    return in_time and (on_road or near)
