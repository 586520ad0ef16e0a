"""A small cycle for tests of the monitor: every link has the speed of its newest report; slow ones make an event."""

from typing import Any
from uuid import UUID, uuid5

import msgspec
import numpy as np

from traffic.road_readings import DETECTOR_REPORT
from traffic.roads.cycle import RoadRules, StateUnreadable
from traffic.roads.model import (
    EventKind,
    HealthChange,
    Index,
    Inputs,
    Picture,
    RiskPicture,
    RoadEvent,
    RoadNetwork,
    Sections,
    SensorKind,
    Sensors,
    Turn,
    Window,
)

SLOW_KMH = 40.0
KEPT_US = 300_000_000
SPACE = UUID("7d4ce4ab-2a4c-4b83-9a3f-6f86f8b0a5a1")


class FakeState(msgspec.Struct):
    """Reports of the last five minutes, the events that are open, and which sensors are ill."""

    links: list[int]
    rows: dict[str, bytes]  # "detector:lane:observed_at" -> the report
    events: dict[int, tuple[str, int, int, int]]  # link -> id, revision, started, level
    ill: list[int]
    turns: int = 0


class FakeCycle:
    """As module traffic.roads.cycle. `told` keeps what each turn was told; `fault` is called before each turn."""

    def __init__(self) -> None:
        self.told: list[tuple[int, Inputs]] = []
        self.fault: Any = None

    def new_state(self, network: RoadNetwork, sensors: Sensors) -> FakeState:
        return FakeState(links=network.ids.tolist(), rows={}, events={}, ill=[])

    def dump(self, state: FakeState) -> bytes:
        return msgspec.msgpack.encode(state)

    def load(self, data: bytes, network: RoadNetwork, sensors: Sensors) -> FakeState:
        state = msgspec.msgpack.decode(data, type=FakeState)
        if state.links != network.ids.tolist():
            raise StateUnreadable("of another network")
        return state

    def turn(  # noqa: PLR0913 - as the real one
        self, network: RoadNetwork, sensors: Sensors, sections: Sections, state: FakeState, inputs: Inputs,
        rules: RoadRules, *, now_us: int,
    ) -> Turn:  # fmt: skip
        """One cycle."""
        self.told.append((now_us, inputs))
        if self.fault is not None:
            self.fault(now_us, inputs)
        for row in inputs.reports:
            key = f"{row['detector']}:{row['lane']}:{row['observed_at']}"
            old = state.rows.get(key)
            if old is None or np.frombuffer(old, DETECTOR_REPORT)["received_at"][0] <= row["received_at"]:
                state.rows[key] = row.tobytes()
        rows = np.frombuffer(b"".join(state.rows.values()), DETECTOR_REPORT)
        state.rows = {
            key: data
            for (key, data), at in zip(state.rows.items(), rows["observed_at"].tolist(), strict=True)
            if at > now_us - KEPT_US
        }
        picture = _picture(network, sensors, rows[rows["observed_at"] <= now_us], now_us)
        events = _events(network, state, picture, now_us)
        state.turns += 1
        return Turn(
            picture=picture,
            risk=_risk(picture),
            window=_window(sensors, now_us),
            events=events,
            health=_health(state, rows[rows["observed_at"] <= now_us], now_us),
            indices=[_index(picture)],
        )


def _picture(network: RoadNetwork, sensors: Sensors, rows: np.ndarray, now_us: int) -> Picture:
    many = len(network)
    picture = Picture(
        at_us=now_us,
        observed_us=np.zeros(many, np.int64),
        level=np.zeros(many, np.int8),
        confidence=np.zeros(many),
        sources=np.zeros(many, np.int8),
        **{
            name: np.full(many, np.nan)
            for name in ("speed_kmh", "flow_vph", "density_vkm", "travel_s", "travel_p90_s", "heavy_share")
        },
    )
    at = sensors.rows_of(SensorKind.DETECTOR, rows["detector"].astype(np.int64))
    for row, sensor in zip(rows, at.tolist(), strict=True):
        if sensor < 0 or np.isnan(row["speed_kmh"]) or row["observed_at"] <= now_us - 90_000_000:
            continue
        link = int(sensors.link[sensor])
        if row["observed_at"] < picture.observed_us[link]:
            continue
        speed = float(row["speed_kmh"])
        picture.observed_us[link] = row["observed_at"]
        picture.speed_kmh[link] = speed
        picture.flow_vph[link] = float(row["vehicles"]) * 3600 / max(1, int(row["period_s"]))
        picture.level[link] = 1 if speed >= SLOW_KMH else 4
        picture.confidence[link], picture.sources[link] = 0.9, 1
        picture.travel_s[link] = network.length_m[link] * 3.6 / max(speed, 1.0)
    return picture


def _events(network: RoadNetwork, state: FakeState, picture: Picture, now_us: int) -> list[RoadEvent]:
    found = []
    for row, link in enumerate(network.ids.tolist()):
        slow = picture.level[row] == 4
        known = state.events.get(link)
        if slow and known is None:
            identity = uuid5(SPACE, f"{link}:{now_us}")
            state.events[link] = (str(identity), 1, now_us, int(picture.speed_kmh[row]))
            found.append(_event(network, row, state.events[link], "new", now_us))
        elif slow and known is not None and int(picture.speed_kmh[row]) != known[3]:
            state.events[link] = (known[0], known[1] + 1, known[2], int(picture.speed_kmh[row]))
            found.append(_event(network, row, state.events[link], "updated", now_us))
        elif not slow and known is not None:
            found.append(_event(network, row, (known[0], known[1] + 1, known[2], known[3]), "ended", now_us))
            del state.events[link]
    return found


def _event(network: RoadNetwork, row: int, known: tuple[str, int, int, int], change: str, now_us: int) -> RoadEvent:
    identity, revision, started_us, speed = known
    return RoadEvent(
        id=UUID(identity),
        kind=EventKind.CONGESTION,
        change=change,
        state="ended" if change == "ended" else "open",
        level=2,
        revision=revision,
        link=int(network.ids[row]),
        road=int(network.road[row]),
        direction=int(network.direction[row]),
        head_stake_m=int(network.to_stake_m[row]),
        tail_stake_m=int(network.from_stake_m[row]),
        unit=int(network.unit[row]),
        started_us=started_us,
        changed_us=now_us,
        ended_us=now_us if change == "ended" else None,
        observed_us=now_us,
        confidence=0.9,
        grounds={"speed_kmh": speed},
    )


def _risk(picture: Picture) -> RiskPicture:
    known = picture.level > 0
    score = np.where(known, np.where(picture.level == 4, 0.8, 0.1), np.nan)
    level = np.where(known, np.where(picture.level == 4, 4, 1), 0).astype(np.int8)
    parts = np.where(known, score, 0.0)[:, None]
    return RiskPicture(
        factors=("speed_drop",), now=score, next_hour=score, now_level=level, next_level=level, now_parts=parts,
        next_parts=parts,
    )  # fmt: skip


def _window(sensors: Sensors, now_us: int) -> Window:
    values = {
        name: np.full((len(sensors), 1), np.nan) for name in ("speed_kmh", "flow_vph", "occupancy", "heavy_share")
    }
    return Window(ends_us=np.array([now_us]), trust=np.ones(len(sensors)), **values)


def _health(state: FakeState, rows: np.ndarray, now_us: int) -> list[HealthChange]:
    ill = sorted(set(rows["detector"][np.isnan(rows["speed_kmh"])].tolist()))
    changes = [
        HealthChange(
            kind=SensorKind.DETECTOR, id=number, lane=0, state="failed" if number in ill else "ok",
            reason="no_speed" if number in ill else "", trust=0.0 if number in ill else 1.0, since_us=now_us, detail={},
        )
        for number in sorted(set(ill) ^ set(state.ill))
    ]  # fmt: skip
    state.ill = ill
    return changes


def _index(picture: Picture) -> Index:
    known = picture.level > 0
    return Index(
        scope="province", scope_id=0, index=float(known.sum()), usual_index=None, speed_kmh=None, congested_km=0.0,
        known_share=float(known.mean()) if len(known) else 0.0, vehicle_km_h=None, risk_links=(0, 0, 0, 0),
    )  # fmt: skip
