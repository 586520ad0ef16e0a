"""Beside a worker's loop: roll-ups from fine to coarse, usual times learned anew, and what is too old goes.

Any number of workers may run it.
"""

import threading

import psycopg
import structlog

from traffic import database, retention, rollups, usual_times
from traffic.clock import monotonic_s
from traffic.errors import ServiceError
from traffic.settings import Settings

log = structlog.get_logger()
PAUSE_S = 5.0
RETENTION_EVERY_S = 3600.0
RETENTION_AGAIN_S = 300.0  # where a table was in use
RETENTION_FIRST_S = 60.0  # a start has other things to do
USUAL_LOOK_EVERY_S = 30.0  # whether it is time to learn again
USUAL_PAUSES = 20  # times as long as learning took
LOCK_WAIT_MS = 5_000  # what drops chunks does not queue before those who write


class Upkeep:
    """One turn after another on a connection of its own, until told to stop."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self._settings = settings
        self._stop = stop
        self._connection: psycopg.Connection | None = None
        self._retention_due_s = monotonic_s() + RETENTION_FIRST_S
        self._usual_due_s = monotonic_s()

    def run(self) -> None:
        """The loop of a thread; what fails is tried again with a new connection."""
        while not self._stop.wait(PAUSE_S):
            try:
                self.turn()
            except (ServiceError, psycopg.Error) as error:
                log.warning("upkeep failed", why=str(error).splitlines()[0] if str(error) else repr(error))
                self.close()
        self.close()

    def turn(self) -> None:
        """Settle all roll-ups that are due; now and then look at what is too old."""
        connection = self._connected()
        while rollups.settle(connection, now_us=self._settings.clock.now_us()) and not self._stop.is_set():
            pass
        if monotonic_s() >= self._usual_due_s:
            self._learn(connection)
        if monotonic_s() >= self._retention_due_s:
            self._retention_due_s = monotonic_s() + RETENTION_EVERY_S
            kept = retention.keep(connection, self._settings.clock)
            if kept.busy:
                self._retention_due_s = monotonic_s() + RETENTION_AGAIN_S
            if kept.dropped or kept.compressed or kept.policies:
                log.info("kept", dropped=kept.dropped, compressed=kept.compressed, policies=kept.policies)

    def _learn(self, connection: psycopg.Connection) -> None:
        begin_s = monotonic_s()
        self._usual_due_s = begin_s + USUAL_LOOK_EVERY_S
        if pairs := usual_times.learn_if_due(connection, now_us=self._settings.clock.now_us()):
            took_s = monotonic_s() - begin_s
            self._usual_due_s += USUAL_PAUSES * took_s
            log.info("usual times learned", pairs=pairs, took_s=round(took_s, 2))

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _connected(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            self._connection = database.connect(
                str(self._settings.database_url), database.WRITER, autocommit=True, connect_timeout=5
            )
            self._connection.execute(f"SET lock_timeout = {LOCK_WAIT_MS}")
        return self._connection
