"""The connections of the demonstration's terminals to the door: each vehicle its own, made again when it is lost."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import structlog

from sim.fleet import Told
from sim.terminals import State, TerminalProtocol
from traffic.clock import monotonic_s
from traffic.demonstration import DemoTerminal, demo_terminals
from traffic.ingest.jt808 import V2013, V2019
from traffic.ingest.jt808_bodies import Registration
from traffic.settings import Settings

HEARTBEAT_S = 45.0
AGAIN_S, AGAIN_S_MAX = 2.0, 30.0
ROUND_S = 0.5
CONNECT_AT_ONCE = 20
LAST_ANSWERS_S = 5.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Due:
    """When a line does what next (monotonic seconds)."""

    connect_s: float = 0.0
    heartbeat_s: float = 0.0
    again_s: float = AGAIN_S


class _Line(asyncio.Protocol):
    """One connection of one terminal."""

    def __init__(self, terminal: TerminalProtocol) -> None:
        self._terminal = terminal
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._terminal.connected())

    def data_received(self, data: bytes) -> None:
        self.send(self._terminal.received(data))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._terminal.lost()

    @property
    def is_up(self) -> bool:
        return self._transport is not None

    def send(self, data: bytes) -> None:
        if data and self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class TerminalLines:
    """All terminals that speak for themselves. `put` from the same event loop; `run` until `stop` is set."""

    def __init__(self, settings: Settings) -> None:
        self._address = (settings.host, settings.terminal_port)
        self.terminals = {row.plate: _terminal_of(row) for row in demo_terminals()}
        self._lines: dict[str, _Line] = {}
        self._due = {plate: _Due() for plate in self.terminals}

    @property
    def waiting(self) -> int:
        """Positions that the door has not yet taken."""
        return sum(terminal.waiting for terminal in self.terminals.values())

    def figures(self) -> dict[str, object]:
        """For the log."""
        every = self.terminals.values()
        return {
            "terminals_ready": sum(terminal.state is State.READY for terminal in every),
            "terminal_positions_taken": sum(terminal.counts.taken for terminal in every),
            "texts_shown": sum(terminal.counts.texts for terminal in every),
        }

    def put(self, told: Mapping[str, Told]) -> None:
        """Positions by plate; those without network are kept and go with the next batch."""
        for plate, one in told.items():
            terminal = self.terminals.get(plate)
            if terminal is None:
                continue
            terminal.keep(one.position)
            if not one.kept and plate in self._lines:
                self._lines[plate].send(terminal.pending())

    async def run(self, stop: asyncio.Event) -> None:
        """Keep every terminal connected until told to stop; then wait a moment for the last answers."""
        while not stop.is_set():
            now_s = monotonic_s()
            await self._connect([plate for plate in self.terminals if self._is_due(plate, now_s)])
            self._beat(now_s)
            await _pause(stop, ROUND_S)
        until_s = monotonic_s() + LAST_ANSWERS_S
        while any(line.is_up and self.terminals[plate].unanswered for plate, line in self._lines.items()):
            if monotonic_s() > until_s:
                break
            await asyncio.sleep(0.05)
        for line in self._lines.values():
            line.close()

    def _is_due(self, plate: str, now_s: float) -> bool:
        line = self._lines.get(plate)
        if line is not None and line.is_up:
            if self.terminals[plate].state is State.READY:
                self._due[plate].again_s = AGAIN_S
            elif self.terminals[plate].state is State.REFUSED:
                line.close()
            return False
        return now_s >= self._due[plate].connect_s

    async def _connect(self, plates: list[str]) -> None:
        """A few at a time, later each time that it fails."""
        await asyncio.gather(*(self._connect_one(plate) for plate in plates[:CONNECT_AT_ONCE]))

    async def _connect_one(self, plate: str) -> None:
        due, terminal = self._due[plate], self.terminals[plate]
        due.connect_s = monotonic_s() + due.again_s
        due.again_s = min(AGAIN_S_MAX, due.again_s * 1.5)
        try:
            _, line = await asyncio.get_running_loop().create_connection(lambda: _Line(terminal), *self._address)
            self._lines[plate] = line
        except OSError as error:
            if plate == next(iter(self.terminals)):  # all fail alike; one says so
                log.info("the door for terminals does not answer", why=str(error))

    def _beat(self, now_s: float) -> None:
        for plate, line in self._lines.items():
            if now_s >= self._due[plate].heartbeat_s:
                self._due[plate].heartbeat_s = now_s + HEARTBEAT_S
                line.send(self.terminals[plate].heartbeat())


def _terminal_of(row: DemoTerminal) -> TerminalProtocol:
    registration = Registration(
        province=22, city=100, maker="TWIN", model="TC-808", number=row.number, plate_color=row.plate_color,
        plate=row.plate,
    )  # fmt: skip
    return TerminalProtocol(row.phone, registration, version=V2019 if row.of_2019 else V2013)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
