"""The engine's process seen from the one that commands it: lines of JSON through pipes, each with a time limit."""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from traffic.errors import TrafficError

START_S_MAX = 60.0
COMMAND_S_MAX = 180.0
LINE_BYTES_MAX = 64 * 1024 * 1024


class EngineLost(TrafficError):
    """The simulation's process has ended or does not answer within its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What came of some steps. Crossings: (loop, vehicle, time_s, speed_ms, length_m) in the order of time.

    `places`: (vehicle, edge, position_m, speed_ms) of those asked for. Where sums were asked for, those since the last
    time: `counts` (loop, vehicles, heavy, seconds occupied, sum of m/s) and `edges` (edge, vehicle-s, vehicle-m).
    """

    time_s: float
    crossings: tuple[tuple[str, str, float, float, float], ...]
    ended: tuple[str, ...]
    refused: tuple[str, ...]
    running: int
    places: tuple[tuple[str, str, float, float], ...] = ()
    counts: tuple[tuple[str, int, int, float, float], ...] = ()
    edges: tuple[tuple[str, float, float], ...] = ()


@dataclass(slots=True, kw_only=True)
class Command:
    """What the engine is to change before some steps, and what it is asked after them (see `sim.engine`)."""

    add: list[dict[str, Any]] = field(default_factory=list)
    block: list[dict[str, Any]] = field(default_factory=list)
    unblock: list[str] = field(default_factory=list)
    limits: dict[str, float] = field(default_factory=dict)
    where: list[str] = field(default_factory=list)
    count: bool = False


class EngineProcess:
    """A simulation in a process of its own; it ends when this one ends, because its standard input does."""

    def __init__(self, process: asyncio.subprocess.Process, command_s_max: float = COMMAND_S_MAX) -> None:
        self._process = process
        self._command_s_max = command_s_max

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @classmethod
    async def start(cls, start: dict[str, Any], command_s_max: float = COMMAND_S_MAX) -> "EngineProcess":
        """Start the process and wait until it is ready (keys as `sim.engine.Engine` reads them)."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "sim.engine",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
        )
        engine = cls(process, command_s_max)
        await engine._ask({"start": start}, START_S_MAX)
        return engine

    async def run(self, command: Command | Sequence[dict[str, Any]], steps: int) -> Stretch:
        """Change what is to be changed (of a list: add these vehicles), let steps go by."""
        wanted = command if isinstance(command, Command) else Command(add=list(command))
        found = await self._ask(
            {"steps": steps, **{name: getattr(wanted, name) for name in Command.__slots__}}, COMMAND_S_MAX
        )
        rows = {
            name: tuple(tuple(row) for row in found.get(name, ()))
            for name in ("crossings", "places", "counts", "edges")
        }
        return Stretch(
            time_s=found["time_s"],
            ended=tuple(found["ended"]),
            refused=tuple(found["refused"]),
            running=found["running"],
            **rows,
        )

    async def close(self) -> None:
        """End the process; one that does not go within 5 s is killed."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 5.0)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _ask(self, command: dict[str, Any], seconds_max: float) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            await self._process.stdin.drain()
            line = await asyncio.wait_for(self._process.stdout.readline(), seconds_max)
        except (TimeoutError, ConnectionError) as error:
            raise EngineLost(f"the simulation does not answer: {type(error).__name__}") from error
        if not line:
            code = await self._process.wait()
            raise EngineLost(f"the simulation's process has ended (exit code {code}): see its last words in the log")
        return json.loads(line)
