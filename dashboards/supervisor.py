"""`traffic up`: everything of one instance on one machine, started in order, watched, and stopped in order."""

import json
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path
from types import FrameType

import psycopg

from dashboards import checks, setup
from dashboards.children import Child, Part, end_leftovers, remember, stop_all
from sim.backfill import backfill_beside
from traffic import database, embedded
from traffic.clock import monotonic_s
from traffic.embedded import Embedded
from traffic.errors import ServiceError
from traffic.log import bound_file
from traffic.progress import CalledOff, Progress
from traffic.service import InstanceLock, Service
from traffic.settings import Settings

READY_S_MAX = 90.0
CRASHES_AT_START_MAX = 3
POLL_S = 0.1
SERVICE_AGAIN_S = 5.0
SENDERS = ("twin", "feeder")  # they send to the others, which have to serve first
STOP_ORDER = ("doors", *SENDERS, "forwarder", "worker", "monitor", "api")
STAND_IN = "stand-in-"  # how the key begins that a demonstration gives to its platform
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}


class Supervisor:
    """One instance. `run()` returns after SIGTERM, SIGINT or SIGHUP, when nothing of it is left."""

    def __init__(
        self,
        settings: Settings,
        *,
        list_parts: Callable[[Settings], list[Part]] | None = None,
        build_web: Callable[[Progress], object] = setup.build_web,
        prepare_tables: Callable[[Settings], Settings] | None = None,
        beside: Callable[[Settings], object] = lambda _settings: None,
    ) -> None:
        self.settings = settings
        self._list_parts = list_parts or parts
        self._build_web = build_web
        self._prepare = prepare_tables or prepare
        self._beside = beside  # begun when everything runs, and awaited by nobody
        self.called_off = False
        self.progress = Progress(say=self.say, called_off=lambda: self.called_off)
        self.children: list[Child] = []
        self._embedded: Embedded | None = None
        self._again_s = 0.0

    def say(self, line: str) -> None:
        """A line for the person at the terminal, who may have left."""
        try:
            print(line, flush=True)
        except OSError:
            return

    def run(self) -> None:
        """Start, watch until told to stop, stop. Raises TrafficError when it cannot start."""
        settings = self.settings
        embedded.make_data_dir(settings.data_dir)
        lock = InstanceLock(settings.data_dir / "instance.lock", what="an instance")
        lock.take()
        previous = {number: signal.signal(number, self._on_signal) for number in _signals()}
        try:
            self._start()
            self._watch()
        except CalledOff:
            self.say("called off")
        finally:
            self._stop()
            for number, handler in previous.items():
                signal.signal(number, handler)
            lock.release()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.called_off = True  # the second and the tenth say nothing new: stopping is on its way and bounded

    # ------------------------------------------------------------------------------------------------ start
    def _start(self) -> None:
        settings, progress = self.settings, self.progress
        checks.require_space(settings.data_dir)
        if end_leftovers(self._noted):
            self.say("ended processes of an earlier run that was killed")
        checks.require_ports(settings)
        self._build_web(progress)
        self._embedded = Embedded(settings, progress)
        self._embedded.start()
        progress.check()
        if settings.database_url:
            embedded.check_database(settings.database_url)
        if settings.redis_url:
            embedded.check_redis(settings.redis_url)
        self.settings = settings.model_copy(
            update={
                "database_url": self._embedded.database_url,
                "redis_url": self._embedded.redis_url,
                "secret_key": checks.secret_key(settings),
            }
        )
        self.settings = with_stand_in(self._prepare(self.settings))
        progress.check()
        self._start_children(self._list_parts(self.settings))
        self._beside(self.settings)
        host = ANYWHERE.get(settings.host, f"[{settings.host}]" if ":" in settings.host else settings.host)
        self.say(f"http://{host}:{settings.port}")
        for line in logins(settings.data_dir / "demo.json") if settings.demo else []:
            self.say(line)

    @property
    def _noted(self) -> Path:
        return self.settings.data_dir / "children.json"

    def _start_children(self, wanted: Sequence[Part]) -> None:
        """Start all that serve, wait until they do, then who sends to them."""
        environment = checks.environment(self.settings, os.environ)
        logs = self.settings.data_dir / "logs"
        logs.mkdir(exist_ok=True)
        for part in wanted:
            if part.name in SENDERS:
                self._wait_ready()
            log = logs / f"{part.name.replace(' ', '-')}.log"
            bound_file(log)
            child = Child(part=part, log=log, environment=environment, say=self.say)
            self.children.append(child)
            child.start()
            remember(self._noted, self.children)
        self._wait_ready()

    def _wait_ready(self) -> None:
        until = monotonic_s() + READY_S_MAX
        waiting = list(self.children)
        while waiting := [child for child in waiting if not child.answers()]:
            self.progress.check()
            for child in waiting:
                child.watch()
                if child.crashes >= CRASHES_AT_START_MAX:
                    raise ServiceError(f"{child.part.name} does not start: {last_line(child.log)} (log: {child.log})")
            if monotonic_s() > until:
                raise ServiceError(
                    f"{waiting[0].part.name} does not serve within {READY_S_MAX:.0f} s (log: {waiting[0].log})"
                )
            time.sleep(POLL_S)

    # ------------------------------------------------------------------------------------------------ run and stop
    def _watch(self) -> None:
        while not self.called_off:
            for service in self._embedded.services if self._embedded else []:
                bound_file(service.log)
                self._keep(service)
            before = [child.process for child in self.children]
            for child in self.children:
                child.watch()
            if [child.process for child in self.children] != before:
                remember(self._noted, self.children)
            time.sleep(POLL_S)

    def _keep(self, service: Service) -> None:
        """Start a service that ended again; while it cannot (a full disk), the rest goes on and this is tried again."""
        if service.is_running() or monotonic_s() < self._again_s:
            return
        self.say(f"{service.name} has ended; starting it again (log: {service.log})")
        try:
            service.start()
        except CalledOff:
            raise
        except ServiceError as error:
            self.say(str(error))
            self._again_s = monotonic_s() + SERVICE_AGAIN_S

    def _stop(self) -> None:
        if self.children or self._embedded:
            self.say("stopping")
        groups = [[child for child in self.children if kind(child.part) == name] for name in STOP_ORDER]
        groups.append([child for child in self.children if kind(child.part) not in STOP_ORDER])
        stop_all(groups)
        self._noted.unlink(missing_ok=True)
        if self._embedded:
            self._embedded.stop()


def kind(part: Part) -> str:
    """`worker` of `worker 2`."""
    return part.name.split()[0]


def last_line(log: Path) -> str:
    """What a process said last."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1][:400] if lines else "it said nothing"


def _signals() -> tuple[signal.Signals, ...]:
    return (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def prepare(settings: Settings) -> Settings:
    """Bring schema and province up to date; returns what the parts run with. Raises ServiceError with one sentence."""
    from traffic import province

    try:
        database.migrate(settings.database_url or "", partitions=settings.partitions)
        province.load_instance(settings)
    except psycopg.Error as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ServiceError(f"the database could not be prepared: {reason}") from error
    return settings


def with_stand_in(settings: Settings) -> Settings:
    """A demonstration without a national platform gets a stand-in on a free port of this machine, under a fresh key."""
    if not settings.demo or settings.purpose != "live" or settings.registry_url:
        return settings
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    return settings.model_copy(update={"registry_url": address, "registry_key": STAND_IN + secrets.token_urlsafe(16)})


def parts(settings: Settings) -> list[Part]:
    """The processes of an instance, in the order of starting."""
    base = f"http://{ANYWHERE.get(settings.host, settings.host)}"
    found = [
        Part(name=f"worker {number}", command=Part.command_of("worker")) for number in range(1, settings.workers + 1)
    ]
    found.append(Part(name="monitor", command=Part.command_of("monitor")))
    found.append(Part(name="forwarder", command=Part.command_of("forwarder")))
    found.append(Part(name="doors", command=Part.command_of("doors"), health=f"{base}:{settings.door_port}/healthz"))
    found.append(Part(name="api", command=Part.command_of("api"), health=f"{base}:{settings.port}/healthz"))
    if settings.demo or settings.picture_hosts:
        found.append(Part(name="pictures", command=Part.command_of("pictures")))
    if settings.registry_url:
        found.append(Part(name="registry", command=(*Part.command_of("registry"), "sync")))
    if settings.demo:
        if (settings.registry_key or "").startswith(STAND_IN):
            found.append(Part(name="stand-in", command=(*Part.command_of("registry"), "stand-in")))
        found.append(Part(name="twin", command=Part.command_of("twin")))
    return found


def logins(path: Path) -> list[str]:
    """The demonstration's logins as lines of a table."""
    try:
        people = json.loads(path.read_bytes())["people"]
        rows = [(person["login"], person["password"], person["name"], str(person["unit"])) for person in people]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(2)] if rows else []
    return [
        f"  {login.ljust(widths[0])}  {password.ljust(widths[1])}  {name} ({unit})"
        for login, password, name, unit in rows
    ]


def run(settings: Settings) -> None:
    """Entry of `traffic up`."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without Chinese still works
    Supervisor(settings, beside=backfill_beside).run()
