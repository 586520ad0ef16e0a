"""The three keyed rules in other hands, each in a process of its own: `python -m dashboards.bench.rules_peers WHO ...`.

`plain`: one record after another in a loop over dicts. `bytewax`: its dataflow, one worker, three stateful steps. Both
run the same plain functions (`plain_rules`, `plain_driving`) on records that lie ready as tuples; only the judging is
timed.
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np

from dashboards.bench import rules_load
from dashboards.bench.plain_driving import Driver, Passage, PlainDriving
from dashboards.bench.plain_rules import Change, PlainClones, PlainSections, Reading, Seen
from traffic.findings import CLONED_PLATE, DRIVING_TIME
from traffic.plates import plate_text, vehicle_keys
from traffic.vehicles import RuleBook

AT_ONCE = 1_000  # records that bytewax's source hands on together

Said = dict[str, str]  # what stands in the end: rule, vehicle and anchor -> what it rests on


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a peer came to."""

    cpu_s: float
    records: int
    findings: int
    digest: str


class Rules:
    """The three rules, and the records as they want them."""

    def __init__(self, book: RuleBook) -> None:
        parameters = {terms.kind: terms.parameters for terms in book.terms}
        self.sections = PlainSections(book.sections.sections, book.sections.rule)
        self.clones = PlainClones(book.usual, parameters[CLONED_PLATE], book.clock_suspects)
        self.driving = PlainDriving(book.usual, parameters[DRIVING_TIME])
        self.point = {
            int(r["id"]): (round(float(r["lon"]), 6), round(float(r["lat"]), 6)) for r in book.checkpoints.rows
        }

    def records(self, book: RuleBook, rows: np.ndarray) -> list[tuple[str, tuple[str, bool, Reading]]]:
        """(vehicle, (plate, whether it is a key vehicle, reading)) of readable passages."""
        rows = rows[rows["plate_key"] != 0]
        keys = vehicle_keys(rows["plate_key"], rows["plate_class"])
        known = (book.registry.find(keys) >= 0).tolist()
        columns = [
            rows[name].tolist() for name in ("observed_at", "source_hash", "checkpoint", "vehicle_class", "body_color")
        ]
        texts = {key: plate_text(key) or "" for key in np.unique(rows["plate_key"]).tolist()}
        readings = map(Reading, *columns)
        return [
            (str(key), (texts[key >> 3], is_key, reading))
            for key, is_key, reading in zip(keys.tolist(), known, readings, strict=True)
        ]


def fold(said: Said, vehicle: str, told: Change | tuple[int, frozenset[str]]) -> None:
    """Lay what was told over what stands."""
    if isinstance(told, Change):
        name = f"{told.rule}:{vehicle}:{':'.join(map(str, told.anchor))}"
        if told.stands:
            said[name] = str(told.before)
        else:
            said.pop(name, None)
    else:
        said[f"{DRIVING_TIME}:{vehicle}:{told[0] // 60_000_000}"] = ",".join(sorted(told[1]))


def digest_of(said: Said) -> str:
    """One hash over all findings."""
    return blake2b("\n".join(f"{k}={said[k]}" for k in sorted(said)).encode(), digest_size=16).hexdigest()


# ---------------------------------------------------------------- a loop
def plain(rules: Rules, records: list) -> Iterator[tuple[str, Any]]:
    """One record after another."""
    vehicles: dict[str, Seen] = {}
    drivers: dict[str, Driver] = {}
    for vehicle, (plate, is_key, reading) in records:
        seen = vehicles.get(vehicle)
        if seen is None:
            seen = vehicles[vehicle] = Seen()
        for change in rules.sections.next(seen.readings, reading):
            yield vehicle, change
        for change in rules.clones.next(plate, seen, reading):
            yield vehicle, change
        seen.readings.append(reading)
        if is_key:
            driver = drivers.get(vehicle)
            if driver is None:
                driver = drivers[vehicle] = Driver()
            lon, lat = rules.point[reading.checkpoint]
            if told := rules.driving.next(driver, Passage(reading.at, reading.checkpoint, lon, lat)):
                yield vehicle, told


# ---------------------------------------------------------------- bytewax
def flow_of(rules: Rules, records: list, told: list) -> Any:
    """Bytewax's dataflow of the three rules, each a stateful step over the keyed stream."""
    from bytewax import operators as op
    from bytewax.dataflow import Dataflow
    from bytewax.testing import TestingSink, TestingSource

    def sections(readings: deque | None, record: tuple) -> tuple[deque, list]:
        readings = deque(maxlen=16) if readings is None else readings
        changes = rules.sections.next(readings, record[2])
        readings.append(record[2])
        return readings, changes

    def clones(seen: Seen | None, record: tuple) -> tuple[Seen, list]:
        seen = Seen() if seen is None else seen
        changes = rules.clones.next(record[0], seen, record[2])
        seen.readings.append(record[2])
        return seen, changes

    def driving(driver: Driver | None, record: tuple) -> tuple[Driver | None, list]:
        _, is_key, reading = record
        if not is_key:
            return None, []
        driver = Driver() if driver is None else driver
        lon, lat = rules.point[reading.checkpoint]
        found = rules.driving.next(driver, Passage(reading.at, reading.checkpoint, lon, lat))
        return driver, [found] if found else []

    flow = Dataflow("rules")
    stream = op.input("records", flow, TestingSource(records, AT_ONCE))
    steps: tuple[tuple[str, Callable], ...] = (("sections", sections), ("clones", clones), ("driving", driving))
    found = [op.stateful_flat_map(name, stream, step) for name, step in steps]
    op.output("told", op.merge("all", *found), TestingSink(told))
    return flow


def main(who: str, passages: str, seed: str) -> None:
    """Judge, and print an Outcome."""
    world = rules_load.make(int(passages), int(seed))
    rules = Rules(world.three)
    records = rules.records(world.three, world.rows)
    told: list[tuple[str, Any]] = []
    if who == "bytewax":
        from bytewax.testing import run_main

        flow = flow_of(rules, records, told)
        begin_s = time.process_time()
        run_main(flow)
    else:
        begin_s = time.process_time()
        told.extend(plain(rules, records))
    cpu_s = time.process_time() - begin_s
    said: Said = {}
    for vehicle, word in told:
        fold(said, vehicle, word)
    outcome = Outcome(cpu_s=cpu_s, records=len(world.rows), findings=len(said), digest=digest_of(said))
    sys.stdout.write(msgspec.json.encode(outcome).decode() + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
