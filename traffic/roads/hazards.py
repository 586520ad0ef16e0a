"""Weather, road works and failed sensors as road events: start, change, end.

One event for each stretch with bad weather (whatever the number of stations that report on it), for each road work in
force, and for each link with sensors that have failed or are silent (not one for each lane).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from traffic.road_readings import RoadWork, WeatherReport
from traffic.roads.episodes import event_id
from traffic.roads.model import EventKind, HealthChange, RoadEvent, RoadNetwork, SensorKind, Sensors
from traffic.roads.stretches import Stretches
from traffic.roads.weather_grades import DEFAULTS, HazardRule, causes, from_parameters

__all__ = ["DEFAULTS", "HazardRule", "Memory", "follow", "from_parameters", "works_in_force"]

SENSORS_NAMED_MAX = 50  # in grounds; all are counted
NOT_WELL = ("failed", "silent")


class Held(msgspec.Struct, kw_only=True):
    """An open event as it was last told. `signature`: what must change to be told again."""

    kind: str
    begun_us: int  # with the key its anchor
    level: int
    signature: str
    revision: int
    link: int | None
    road: int
    direction: int
    head_m: int
    tail_m: int
    unit: int
    started_us: int
    observed_us: int
    confidence: float
    grounds: dict[str, Any]
    easing_us: int = 0  # since when it would be milder or gone; 0: it would not


class BadSensor(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A sensor that has failed or is silent. `link`: row."""

    link: int
    state: str
    reason: str
    since_us: int


@dataclass(slots=True, kw_only=True)
class Memory:
    """What is in force, as last told, by key; and the sensors that are not well, by kind, id and lane."""

    held: dict[str, Held] = field(default_factory=dict)
    sensors: dict[tuple[int, int, int], BadSensor] = field(default_factory=dict)
    stretches: Stretches

    @classmethod
    def new(cls, network: RoadNetwork, sensors: Sensors) -> "Memory":
        """Nothing known yet."""
        return cls(stretches=Stretches.of(network))

    def __deepcopy__(self, memo: Any) -> "Memory":
        """A copy to go on from; what belongs to the network is shared."""
        held = {key: msgspec.structs.replace(one) for key, one in self.held.items()}
        return Memory(held=held, sensors=dict(self.sensors), stretches=self.stretches)

    def dump(self) -> Any:
        """Values for msgpack."""
        return {
            "held": msgspec.to_builtins(self.held),
            "sensors": [(key, msgspec.to_builtins(one)) for key, one in self.sensors.items()],
        }

    @classmethod
    def load(cls, data: Any, network: RoadNetwork, sensors: Sensors) -> "Memory":
        """What `dump` gave, for the same network."""
        return cls(
            held=msgspec.convert(data["held"], dict[str, Held]),
            sensors=dict(msgspec.convert(data["sensors"], list[tuple[tuple[int, int, int], BadSensor]])),
            stretches=Stretches.of(network),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An event as this cycle sees it. `ease_s`: how long it must be milder before that is told."""

    kind: EventKind
    level: int
    signature: str
    road: int
    direction: int
    low_m: int
    high_m: int
    rows: np.ndarray
    unit: int
    started_us: int
    observed_us: int
    confidence: float
    grounds: dict[str, Any]
    ease_s: int = 0


def follow(  # noqa: PLR0913 - one argument for each thing that it rests on
    network: RoadNetwork,
    weather: Sequence[WeatherReport],
    works: Sequence[RoadWork],
    memory: Memory,
    rules: HazardRule,
    *,
    now_us: int,
    health: Sequence[HealthChange] = (),
    sensors: Sensors | None = None,
) -> list[RoadEvent]:
    """Events that are new, changed or ended in this cycle. `health`: what changed in this cycle, on `sensors`."""
    if health and sensors is not None:
        _hear(memory, health, sensors)
    wanted = {
        **_weather(network, weather, memory, rules, now_us=now_us),
        **_works(network, works, memory, now_us=now_us),
        **_sensors(network, memory, sensors, now_us=now_us),
    }
    return _reconcile(network, wanted, memory, rules, now_us)


# ---------------------------------------------------------------- weather
def _weather(
    network: RoadNetwork, reports: Sequence[WeatherReport], memory: Memory, rules: HazardRule, *, now_us: int
) -> dict[str, Wanted]:
    newest: dict[tuple[object, ...], WeatherReport] = {}
    for report in reports:
        if report.observed_at <= now_us < report.valid_to:
            source = (report.road_id, report.direction, report.from_stake_m, report.to_stake_m)
            key = (*source, report.device, report.station, report.kind)
            if key not in newest or report.observed_at > newest[key].observed_at:
                newest[key] = report
    of_stretch: dict[tuple[int, int, int, int], list[WeatherReport]] = defaultdict(list)
    for report in newest.values():
        of_stretch[report.road_id, report.direction, report.from_stake_m, report.to_stake_m].append(report)
    wanted = {}
    for (road, direction, low_m, high_m), told in of_stretch.items():
        found = sorted(
            ((cause, report) for report in told for cause in causes(report, rules)),
            key=lambda pair: (not pair[0].special, pair[0].level, pair[0].limit_kmh, pair[0].what, pair[1].station),
        )
        if not found:
            continue
        gravest, told_by = found[0]
        rows = memory.stretches.rows(road, direction, low_m, high_m)
        limit_kmh = min(cause.limit_kmh for cause, _ in found)
        wanted[f"weather/{road}/{direction}/{low_m}/{high_m}"] = Wanted(
            kind=EventKind.WEATHER, level=gravest.level,
            signature=f"{gravest.what}/{gravest.level}/{gravest.special}/{limit_kmh:g}",
            road=road, direction=direction, low_m=low_m, high_m=high_m, rows=rows,
            unit=int(network.unit[rows[0]]) if len(rows) else told_by.unit_id,
            started_us=told_by.observed_at, observed_us=max(report.observed_at for _, report in found),
            confidence=0.9 if told_by.kind == "weather" else 0.8, ease_s=rules.ease_s,
            grounds={
                "grade": "special" if gravest.special else gravest.level,
                "limit_kmh": limit_kmh,
                "causes": [
                    {"what": cause.what, "value": cause.value, "level": cause.level, "station": report.station}
                    for cause, report in found
                ],
                "valid_to": max(report.valid_to for _, report in found),
            },
        )  # fmt: skip
    return wanted


# ---------------------------------------------------------------- works
def works_in_force(works: Sequence[RoadWork], now_us: int) -> list[RoadWork]:
    """Begun and not ended: planned ones by their times, active ones until their sender says that they ended."""
    return [
        work
        for work in works
        if work.from_at <= now_us and (work.state == "active" or (work.state == "planned" and now_us < work.to_at))
    ]


def _works(network: RoadNetwork, works: Sequence[RoadWork], memory: Memory, *, now_us: int) -> dict[str, Wanted]:
    wanted = {}
    for work in works_in_force(works, now_us):
        rows = memory.stretches.rows(work.road_id, work.direction, work.from_stake_m, work.to_stake_m)
        lanes = int(network.lanes[rows].min()) if len(rows) else 0
        closed = len(set(work.lanes_closed))
        level = 2 if lanes and closed >= lanes else 3 if lanes and 2 * closed >= lanes else 4
        overdue = now_us >= work.to_at
        grounds = {
            "code": work.code, "works": work.kind, "lanes_closed": sorted(set(work.lanes_closed)), "lanes": lanes,
            "until": work.to_at, "overdue": overdue, "contact": work.contact,
        }  # fmt: skip
        wanted[f"works/{work.code}"] = Wanted(
            kind=EventKind.WORKS, level=level,
            signature=f"{sorted(set(work.lanes_closed))}/{work.from_stake_m}/{work.to_stake_m}/{work.to_at}/{overdue}",
            road=work.road_id, direction=work.direction, low_m=work.from_stake_m, high_m=work.to_stake_m, rows=rows,
            unit=work.unit_id, started_us=work.from_at, observed_us=work.observed_at, confidence=0.9, grounds=grounds,
        )  # fmt: skip
    return wanted


# ---------------------------------------------------------------- sensors
def _hear(memory: Memory, health: Sequence[HealthChange], sensors: Sensors) -> None:
    for kind in (SensorKind.DETECTOR, SensorKind.CHECKPOINT):
        changes = [change for change in health if change.kind == kind]
        if not changes:
            continue
        ids = np.array([change.id for change in changes], np.int64)
        ways = np.array([change.lane for change in changes], np.int64)  # of a checkpoint its direction
        rows = sensors.rows_of(kind, ids, ways if kind == SensorKind.CHECKPOINT else None)
        for change, row in zip(changes, rows.tolist(), strict=True):
            key = (int(kind), change.id, change.lane)
            if change.state in NOT_WELL and row >= 0:
                memory.sensors[key] = BadSensor(
                    link=int(sensors.link[row]), state=change.state, reason=change.reason, since_us=change.since_us
                )
            else:
                memory.sensors.pop(key, None)


def _sensors(network: RoadNetwork, memory: Memory, sensors: Sensors | None, *, now_us: int) -> dict[str, Wanted]:
    of_link: dict[int, list[tuple[tuple[int, int, int], BadSensor]]] = defaultdict(list)
    for key, bad in memory.sensors.items():
        of_link[bad.link].append((key, bad))
    wanted = {}
    for row, ill in of_link.items():
        ill.sort(key=lambda pair: pair[0])
        places = {key[:2] for key, _ in ill}
        name = f"sensor/{int(network.ids[row])}"
        signature = ";".join(f"{key[0]}.{key[1]}.{key[2]}={one.reason}" for key, one in ill)
        held = memory.held.get(name)
        if held is not None and held.signature == signature:
            wanted[name] = _again(held, row)
            continue
        wanted[name] = Wanted(
            kind=EventKind.SENSOR, level=4, signature=signature,
            road=int(network.road[row]), direction=int(network.direction[row]),
            low_m=int(min(network.from_stake_m[row], network.to_stake_m[row])),
            high_m=int(max(network.from_stake_m[row], network.to_stake_m[row])),
            rows=np.array([row]), unit=int(network.unit[row]),
            started_us=min(one.since_us for _, one in ill), observed_us=now_us, confidence=1.0,
            grounds={
                "sensors": [
                    {"kind": SensorKind(key[0]).name.lower(), "id": key[1], "lane": key[2],
                     "state": one.state, "reason": one.reason, "since": one.since_us}
                    for key, one in ill[:SENSORS_NAMED_MAX]
                ],
                "places": len(places), "lanes": len(ill),
            },
        )  # fmt: skip
    return wanted


def _again(held: Held, row: int) -> Wanted:
    """The same as it was told: nothing to make anew."""
    low_m, high_m = sorted((held.head_m, held.tail_m))
    return Wanted(
        kind=EventKind(held.kind), level=held.level, signature=held.signature, road=held.road,
        direction=held.direction, low_m=low_m, high_m=high_m, rows=np.array([row]), unit=held.unit,
        started_us=held.started_us, observed_us=held.observed_us, confidence=held.confidence, grounds=held.grounds,
    )  # fmt: skip


# ---------------------------------------------------------------- what changed
def _reconcile(
    network: RoadNetwork, wanted: Mapping[str, Wanted], memory: Memory, rules: HazardRule, now_us: int
) -> list[RoadEvent]:
    told = []
    for key, want in wanted.items():
        held = memory.held.get(key)
        if held is None:
            held = memory.held[key] = _held(network, want, begun_us=now_us, started_us=want.started_us, revision=1)
            told.append(_card(key, held, "new", now_us))
            continue
        if held.signature == want.signature:
            held.easing_us = 0
            continue
        milder = want.level > held.level and want.ease_s > 0
        held.easing_us = (held.easing_us or now_us) if milder else 0
        if milder and now_us - held.easing_us < want.ease_s * 1_000_000:
            continue
        changed = _held(network, want, begun_us=held.begun_us, started_us=held.started_us, revision=held.revision + 1)
        memory.held[key] = changed
        told.append(_card(key, changed, "updated", now_us))
    for key in [key for key in memory.held if key not in wanted]:
        held = memory.held[key]
        held.easing_us = held.easing_us or now_us
        wait_s = rules.ease_s if held.kind == EventKind.WEATHER else 0
        if now_us - held.easing_us >= wait_s * 1_000_000:
            del memory.held[key]
            held.revision += 1
            told.append(_card(key, held, "ended", now_us, ended_us=held.easing_us))
    return told


def _held(network: RoadNetwork, want: Wanted, *, begun_us: int, started_us: int, revision: int) -> Held:
    head_m, tail_m = (want.low_m, want.high_m) if want.direction == 2 else (want.high_m, want.low_m)
    return Held(
        kind=want.kind.value, begun_us=begun_us, level=want.level, signature=want.signature, revision=revision,
        link=int(network.ids[want.rows[0]]) if len(want.rows) == 1 else None, road=want.road,
        direction=want.direction, head_m=head_m, tail_m=tail_m, unit=want.unit, started_us=started_us,
        observed_us=want.observed_us, confidence=want.confidence, grounds=want.grounds,
    )  # fmt: skip


def _card(key: str, held: Held, change: str, now_us: int, ended_us: int | None = None) -> RoadEvent:
    kind = EventKind(held.kind)
    return RoadEvent(
        id=event_id(kind, key, held.begun_us), kind=kind, change=change,
        state="open" if ended_us is None else "ended", level=held.level, revision=held.revision, link=held.link,
        road=held.road, direction=held.direction, head_stake_m=held.head_m, tail_stake_m=held.tail_m,
        unit=held.unit, started_us=min(held.started_us, now_us), changed_us=now_us, ended_us=ended_us,
        observed_us=held.observed_us, confidence=held.confidence, grounds=dict(held.grounds),
    )  # fmt: skip
