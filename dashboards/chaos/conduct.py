"""One chaos run from start to report."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import psycopg

from dashboards.chaos import compare, road_verify, verify
from dashboards.chaos.blows import make_disturbances
from dashboards.chaos.instance import Instance, Shape
from dashboards.chaos.plan import WAVE_S, Plan, Watch, make_plan
from dashboards.chaos.road_plan import ReportRequest, expected_reports, make_reports
from dashboards.chaos.road_senders import RoadSenders
from dashboards.chaos.scene import Cast, enter_watches, read_cast
from dashboards.chaos.senders import Senders, Tally
from dashboards.chaos.verify import Checks
from dashboards.chaos.watchers import Watcher
from dashboards.chaos.wrecker import Wrecker
from traffic.clock import monotonic_s
from traffic.errors import ServiceError, SettingsError
from traffic.readings import Door
from traffic.settings import Settings
from traffic.store import when

MINUTES_MAX = 45.0  # the feed is kept for an hour, and the clients are compared with all of it
SEND_S_MAX = 60.0  # beyond the plan's end, for what is not yet acknowledged
UNDISTURBED_FROM_MINUTES = 1.0  # longer runs are also compared with a second instance that nobody disturbs
SHORT_MINUTES = 2.0  # so short a run has a faster clock, or it would see no more than a few cycles of the roads
SHORT_RATE = 5.0
HALF_MINUTE_US = 30_000_000
Say = Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Run:
    """What a run carries from its beginning to its checks."""

    plan: Plan
    reports: list[ReportRequest]
    cast: Cast
    start_us: int
    begin_s: float
    tally: Tally = field(default_factory=Tally)
    watchers: list[Watcher] = field(default_factory=list)
    dealt: list[dict[str, object]] = field(default_factory=list)
    checks: Checks = field(default_factory=Checks)


def trial(settings: Settings, *, minutes: float, seed: int, progress: Say) -> dict[str, object]:
    """Run for so many minutes (and a little for what follows); the report says `ok`, and where it is false, why."""
    if minutes > MINUTES_MAX:
        raise SettingsError(
            f"a chaos run takes at most {MINUTES_MAX:g} minutes: run it several times, with other seeds"
        )
    began_s = monotonic_s()
    with Instance(settings, Shape(clock_rate=SHORT_RATE if minutes <= SHORT_MINUTES else 1.0), progress) as instance:
        try:
            run = _prepare(instance, minutes * 60, seed)
            instance.start_processes()
            progress(f"seed {seed}: {len(instance.processes)} processes run after {monotonic_s() - began_s:.1f} s")
            asyncio.run(_disturbed(instance, run, seed, progress))
            said = _check(instance, run, progress)
        except BaseException:
            progress(f"broken off; the logs of all parts are kept in {instance.keep_logs()}")
            raise
        unexpected = list(instance.unexpected)
        logs = None if run.checks.ok else str(instance.keep_logs())
    if minutes >= UNDISTURBED_FROM_MINUTES:
        _compare_with_undisturbed(settings, run, said, progress)
    return _report(run, minutes, seed) | {
        "ended_unasked": unexpected,
        "logs": logs,
        "wall_s": round(monotonic_s() - began_s, 1),
    }


def _report(run: Run, minutes: float, seed: int) -> dict[str, object]:
    return {
        "ok": run.checks.ok,
        "seed": seed,
        "minutes": minutes,
        "requests": len(run.plan.requests),
        "acknowledged": len(run.tally.acknowledged),
        "detector_reports": sum(len(request.reports) for request in run.reports),
        "answers": dict(sorted(run.tally.answers.items())),
        "cut_off": run.tally.cut,
        "clients": [
            {
                "login": watcher.login,
                "sockets": watcher.sockets,
                "alerts": sum(len(told.cards) for told in watcher.told[1:]),
                "losses": dict(sorted(watcher.losses.items())),
            }
            for watcher in run.watchers
        ],
        "checks": {name: differences or "holds" for name, differences in run.checks.found.items()},
        "disturbances": run.dealt,
    }


# ---------------------------------------------------------------- the run
def _prepare(instance: Instance, length_s: float, seed: int) -> Run:
    """The plan, and its watch list in force before a worker runs: a later entry would look back half an hour only."""
    now = instance.settings.clock.now()
    with instance.connect() as connection:
        cast = read_cast(connection, instance.demo(), now)
        plan = make_plan(seed, cast.scene, length_s=length_s)
        points = road_verify.read_points(connection)
        reports = make_reports(seed, points, length_s=length_s, rate=instance.settings.clock_rate)
        at_once = [watch for watch in plan.watches if watch.active_s is None]
        enter_watches(connection, at_once, valid_from=now - timedelta(days=1))
    start_us = instance.settings.clock.now_us()
    return Run(plan=plan, reports=reports, cast=cast, start_us=start_us, begin_s=monotonic_s())


async def _disturbed(instance: Instance, run: Run, seed: int, say: Say) -> None:
    run.watchers = _watchers(instance, seed)
    keeper = asyncio.create_task(instance.keep())
    watching = [asyncio.create_task(watcher.watch()) for watcher in run.watchers]
    try:
        await _until_watched(run.watchers)
        run.start_us = instance.settings.clock.now_us() // 1_000_000 * 1_000_000  # GA/T 1400 tells whole seconds
        run.begin_s = monotonic_s()
        senders = Senders(instance.doors, run.cast.senders, start_us=run.start_us, begin_s=run.begin_s)
        run.tally = senders.tally
        wrecker = Wrecker(instance, begin_s=run.begin_s, say=say)
        run.dealt = wrecker.dealt
        activating = asyncio.create_task(_activate(instance, run))
        wrecking = asyncio.create_task(wrecker.deal_all(make_disturbances(seed, length_s=run.plan.length_s)))
        telling = asyncio.create_task(_told(instance, run))
        await _sent(senders, run)
        await asyncio.gather(wrecking, activating, telling)
        say(f"{monotonic_s() - run.begin_s:6.1f} s  all sent; waiting until everything runs and the bus is drained")
        await instance.settle()
        run.checks.add("the bus is drained", await verify.drained(instance))
        run.checks.add("the roads have a cycle behind it all", await road_verify.cycled(instance))
        await verify.looked_back(instance)
        await verify.caught_up(run.watchers, lambda watcher: verify.alerts_behind_snapshot(instance, watcher))
    finally:
        for task in (keeper, *watching):
            task.cancel()
        await asyncio.gather(keeper, *watching, return_exceptions=True)


def _watchers(instance: Instance, seed: int) -> list[Watcher]:
    people = [person for person in instance.demo()["people"] for _ in range(2)]
    return [
        Watcher(
            login=person["login"],
            password=person["password"],
            apis=instance.apis,
            chance=np.random.default_rng([seed, 2, number]),
        )
        for number, person in enumerate(people)
    ]


async def _until_watched(watchers: list[Watcher]) -> None:
    """Every client has its first snapshot before the first record is sent."""
    until = monotonic_s() + verify.CATCH_UP_S_MAX
    while not all(watcher.told for watcher in watchers):
        if monotonic_s() > until:
            idle = [(watcher.login, watcher.losses, watcher.wrong) for watcher in watchers if not watcher.told]
            raise ServiceError(f"clients get no first snapshot: {idle}")
        await asyncio.sleep(verify.POLL_S)


async def _sent(senders: Senders, run: Run) -> None:
    try:
        async with asyncio.timeout(run.plan.length_s + SEND_S_MAX):
            await senders.send_all(run.plan.requests)
    except TimeoutError:
        pass  # the check names what was not acknowledged
    wanted = {request.number for request in run.plan.requests if not request.ghost}
    missing = compare.lists("never acknowledged: request", wanted - run.tally.acknowledged)
    run.checks.add("every record is acknowledged in the end", missing)
    run.checks.add("doors answer as they should", compare.lists("answer", run.tally.wrong))


async def _told(instance: Instance, run: Run) -> None:
    """Send what the detectors say, beside the passages."""
    sender = next(iter(run.cast.senders[Door.NATIVE]))
    base_us = run.start_us // HALF_MINUTE_US * HALF_MINUTE_US
    senders = RoadSenders(doors=instance.doors, sender=sender, base_us=base_us, begin_s=run.begin_s)
    try:
        async with asyncio.timeout(run.plan.length_s + SEND_S_MAX):
            await senders.send_all(run.reports)
    except TimeoutError:
        pass  # the check names what was not acknowledged
    missing = {request.number for request in run.reports} - senders.acknowledged
    run.checks.add("every record is acknowledged in the end", compare.lists("never acknowledged: reports", missing))
    run.checks.add("doors answer as they should", compare.lists("answer", senders.wrong))


async def _activate(instance: Instance, run: Run) -> None:
    """Put the later watch entries into force at their times, however often the database is away."""
    later = sorted((w for w in run.plan.watches if w.active_s is not None), key=lambda w: w.active_s or 0.0)
    for watch in later:
        await asyncio.sleep(max(0.0, run.begin_s + (watch.active_s or 0.0) - monotonic_s()))
        while True:
            try:
                await asyncio.to_thread(_enter, instance, watch)
                break
            except (psycopg.Error, ServiceError):
                await asyncio.sleep(WAVE_S / 10)


def _enter(instance: Instance, watch: Watch) -> None:
    with instance.connect() as connection:
        known = connection.execute("SELECT FROM watchlist_entry WHERE number = %s", [watch.number]).fetchone()
        if known is None:
            enter_watches(connection, [watch], valid_from=instance.settings.clock.now())


# ---------------------------------------------------------------- the checks
def _codes(cast: Cast) -> dict:
    return {door: [(sender.code, sender.device_id) for sender in senders] for door, senders in cast.senders.items()}


def _check(instance: Instance, run: Run, say: Say) -> dict[str, compare.Said]:
    expected = compare.expected_of(run.plan, run.start_us, _codes(run.cast))
    with instance.connect() as connection:
        verify.check_store(connection, expected, run.checks)
        verify.check_findings(connection, instance.settings.clock.now_us(), run.checks)
        verify.check_feed(connection, run.checks)
        verify.check_quarantine(connection, expected, run.checks)
        base_us = run.start_us // HALF_MINUTE_US * HALF_MINUTE_US
        road_verify.check_roads(connection, expected_reports(run.reports, base_us), run.checks)
        found = verify.active_findings(connection)
    with instance.connect() as connection:
        verify.check_watchers(connection, run.watchers, run.checks)
    run.checks.add("there was something to find", [] if found else ["no finding was made at all"])
    for name, differences in run.checks.found.items():
        say(f"{'FAILS' if differences else 'holds'}  {name}")
    return found


def _compare_with_undisturbed(settings: Settings, run: Run, said: dict[str, compare.Said], say: Say) -> None:
    """The same records, in order, through one door and one worker that nobody touches."""
    say("the same records again, undisturbed")
    with Instance(settings, Shape(doors=1, workers=1, monitors=1, apis=0), say) as instance:
        with instance.connect() as connection:
            cast = read_cast(connection, instance.demo(), instance.settings.clock.now())
            enter_watches(connection, run.plan.watches, valid_from=when(run.start_us) - timedelta(days=1))
        instance.start_processes()
        found = asyncio.run(_undisturbed(instance, cast, run))
    run.checks.add("findings equal those of an undisturbed instance", compare.compare_findings(found, said))


async def _undisturbed(instance: Instance, cast: Cast, run: Run) -> dict[str, compare.Said]:
    senders = Senders(instance.doors, cast.senders, start_us=run.start_us, begin_s=monotonic_s(), hurry=True)
    await senders.send_all([request for request in run.plan.requests if not request.ghost])
    run.checks.add("the undisturbed bus is drained", await verify.drained(instance))
    with instance.connect() as connection:
        return verify.active_findings(connection)
