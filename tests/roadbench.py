"""A bench for the roads: reports onto their partition, a clock that the test moves, monitors driven step by step."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import psycopg
import redis

from tests.workbench import STEPS_S, Bench
from tests.world import World
from traffic.clock import Clock, monotonic_s
from traffic.limits import CYCLE_S, ROADS_PARTITION
from traffic.monitor import Monitor
from traffic.readings import Door, EntryKind, encode_rows, encode_small
from traffic.road_readings import DETECTOR_REPORT, RoadsideItem
from traffic.settings import Settings
from traffic.store import us_of

CYCLE_US = CYCLE_S * 1_000_000


@dataclass(slots=True)
class MovedClock:
    """Stands still until the test moves it."""

    us: int
    rate: float = field(default=1.0)

    def now_us(self) -> int:
        return self.us

    def now(self):  # noqa: ANN201 - as Clock
        return Clock(offset_s=0.0, rate=1.0).now() - timedelta(microseconds=Clock().now_us() - self.us)


def report(world: World, detector: int, end_us: int, **fields: object) -> np.ndarray:
    """One DETECTOR_REPORT row of lane 1; received 2 s after the end of its interval."""
    row = np.zeros(1, DETECTOR_REPORT)
    row["observed_at"], row["received_at"] = end_us, end_us + 2_000_000
    row["detector"], row["device"], row["door"] = detector, world.native_id, Door.NATIVE_DETECTORS
    row["lane"], row["period_s"], row["vehicles"], row["heavy"] = 1, 30, 12, 2
    row["occupancy"], row["speed_kmh"] = 8.5, 92.0
    for name, value in fields.items():
        row[name] = value
    return row


class RoadBench(Bench):
    """Monitors on a clock of the test's own, which begins at a full half minute."""

    def __init__(self, settings: Settings, owner: psycopg.Connection, world: World) -> None:
        super().__init__(settings, owner)
        self.world = world
        self.clock = MovedClock(us_of(world.now) // CYCLE_US * CYCLE_US)
        self.monitors: list[Monitor] = []

    # ------------------------------------------------------------ sending

    def send_reports(self, *rows: np.ndarray) -> None:
        """Put reports on the roads' partition, as one entry."""
        self.append(encode_rows(EntryKind.DETECTORS, np.concatenate(rows)))

    def send_items(self, *items: RoadsideItem) -> None:
        """Put weather, works or cameras on the roads' partition."""
        self.append(encode_small(EntryKind.ROADSIDE, list(items)))

    def append(self, entry: bytes) -> None:
        """Put any bytes on the roads' partition."""
        assert self.reader.append(ROADS_PARTITION, entry), "the roads' partition takes nothing"

    def interval(self, end_us: int, **fields: object) -> list[np.ndarray]:
        """What all four detectors of the world say of one interval, both lanes."""
        return [
            report(self.world, detector, end_us, lane=lane, vehicles=10 + detector + lane, **fields)
            for detector in (1, 2, 3, 4)
            for lane in (1, 2)
        ]

    # ------------------------------------------------------------ monitors

    def monitor(self, **options: object) -> Monitor:
        """A monitor on the bench's clock that owns the roads and has opened their partition."""
        monitor = self.idle_monitor(**options)
        self.advance_until(monitor, lambda: self.settled_roads(monitor))
        return monitor

    def idle_monitor(self, settings: Settings | None = None, **options: object) -> Monitor:
        """A monitor that has not done anything yet."""
        monitor = Monitor(settings or self.settings, **options)  # type: ignore[arg-type]
        monitor.clock = self.clock  # type: ignore[assignment]
        self.monitors.append(monitor)
        return monitor

    def advance_until(self, monitor: Monitor, condition: Callable[[], object]) -> None:
        """Let the monitor work, upkeep always due, until the condition holds; it begins anew after an error."""
        deadline = monotonic_s() + STEPS_S
        while not condition():
            assert monotonic_s() < deadline, "the monitor did not get there"
            for what in ("settle", "lease", "versions"):
                monitor.due.pop(what, None)
            try:
                monitor.step()
            except (psycopg.Error, redis.RedisError):
                monitor.abandon()

    def settled_roads(self, monitor: Monitor) -> bool:
        """Whether the monitor stands where the bus stands."""
        own = monitor.held.get(ROADS_PARTITION)
        meta = self.reader.meta(ROADS_PARTITION)
        return own is not None and (meta.generation, meta.counter) == (own.generation, own.offset)

    def drain_roads(self, monitor: Monitor) -> None:
        """Let the monitor take in everything that is on the bus."""
        self.advance_until(monitor, lambda: self.settled_roads(monitor))

    def cycle(self, monitor: Monitor, count: int = 1) -> int:
        """Move the clock on by so many half minutes, one by one, and have each cycle done; when the last one was."""
        for _ in range(count):
            self.clock.us += CYCLE_US
            wanted = self.clock.us // CYCLE_US * CYCLE_US
            self.advance_until(monitor, lambda at=wanted: monitor.memory is not None and monitor.memory.at_us >= at)
        return self.clock.us

    def monitor_dies(self, monitor: Monitor) -> None:
        """The monitor is gone without a word, and its lease has run out."""
        monitor.abandon()
        self.execute("UPDATE partition SET until = '1970-01-01+00' WHERE owner = %s", monitor.name)

    def close(self) -> None:
        """End of the test."""
        for monitor in self.monitors:
            monitor.abandon()
        super().close()
