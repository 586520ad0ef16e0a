"""A sender of the native doors: NDJSON with a bearer key; what was not taken is sent again, within a bound."""

import asyncio
import json
from collections import deque
from collections.abc import Sequence

import httpx
import structlog

from sim.platform import RETRY_S, RETRY_S_MAX, SEND_EVERY_S, Counts

RECORDS_MAX = 50_000  # kept of each address while its door cannot take them; then the oldest are given up and counted
BATCH_RECORDS_MAX = 5_000
LAST_TRIES = 3
DETECTORS, POSITIONS, WEATHER, WORKS = (
    "/api/detector-reports", "/api/positions", "/api/weather", "/api/road-works",
)  # fmt: skip

log = structlog.get_logger(__name__)


class NativeSender:
    """One sender for all native addresses. `put` from the same event loop; `run` until `stop` is set."""

    def __init__(self, client: httpx.AsyncClient, key: str) -> None:
        self._client = client
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"}
        self._waiting: dict[str, deque[dict[str, object]]] = {
            path: deque() for path in (WORKS, WEATHER, DETECTORS, POSITIONS)
        }
        self._retry_s = RETRY_S
        self._spoke_of: dict[str, str] = {}
        self.counts = {path: Counts() for path in self._waiting}

    @property
    def waiting(self) -> int:
        """Records not yet taken by a door."""
        return sum(len(records) for records in self._waiting.values())

    def put(self, path: str, records: Sequence[dict[str, object]]) -> None:
        """Hand over records for one address."""
        waiting = self._waiting[path]
        waiting.extend(records)
        while len(waiting) > RECORDS_MAX:
            waiting.popleft()
            self.counts[path].given_up += 1

    async def run(self, stop: asyncio.Event) -> None:
        """Send what comes until told to stop; then a last time."""
        while not stop.is_set():
            pause_s = await self._round()
            try:
                await asyncio.wait_for(stop.wait(), pause_s)
            except TimeoutError:
                continue
        for _ in range(LAST_TRIES):
            await self._round()
            if not self.waiting:
                break

    async def _round(self) -> float:
        """Everything that waits, address by address; returns how long to wait before the next round."""
        pause_s = SEND_EVERY_S
        for path, waiting in self._waiting.items():
            while waiting:
                wait_s = await self._send(path)
                if wait_s is not None:
                    pause_s = max(pause_s, wait_s)
                    break  # the other addresses may do better
        return pause_s

    async def _send(self, path: str) -> float | None:
        """The oldest records of one address; how long to wait, None when all of them are settled."""
        waiting = self._waiting[path]
        batch = [waiting.popleft() for _ in range(min(len(waiting), BATCH_RECORDS_MAX))]
        body = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in batch).encode()
        kept = batch
        try:
            answer = await self._client.post(path, content=body, headers=self._headers)
            kept, refused = left_over(answer.status_code, answer.content, batch)
            self.counts[path].refused += refused
            self.counts[path].taken += len(batch) - len(kept) - refused
            if answer.status_code == 200 and not kept:
                self._retry_s = RETRY_S
                if refused:
                    self._say(path, "records were refused", count=refused, first=first_refusal(answer.content))
                return None
            self._say(path, "the door cannot take more now", status=answer.status_code)
            return self._pause_s(answer.headers.get("Retry-After", ""))
        except httpx.HTTPError as error:
            self._say(path, "the door does not answer", why=type(error).__name__)
            return self._pause_s("")
        finally:
            waiting.extendleft(reversed(kept))

    def _pause_s(self, retry_after: str) -> float:
        try:
            return min(RETRY_S_MAX, max(0.1, float(retry_after)))
        except ValueError:
            wait_s, self._retry_s = self._retry_s, min(RETRY_S_MAX, self._retry_s * 1.5)
            return wait_s

    def _say(self, path: str, what: str, **facts: object) -> None:
        """The same word about one address is said once, until another one follows."""
        if self._spoke_of.get(path) != what:
            self._spoke_of[path] = what
            log.info(what, address=path, **facts)


def left_over(status: int, content: bytes, batch: Sequence[dict[str, object]]) -> tuple[list[dict[str, object]], int]:
    """(records to send again, number refused for good) after a native door's answer to a batch.

    A door that does not know the address, the sender or the form of the body would not know it the next time either.
    """
    if status in (400, 404, 405, 413, 415):
        return [], len(batch)
    if status not in (200, 429, 503):
        return list(batch), 0
    try:
        body = json.loads(content)
        refused = len(body["rejected"])
        again = [batch[index] for index in body.get("not_taken", [])]
    except (ValueError, KeyError, TypeError, IndexError):
        return ([], 0) if status == 200 else (list(batch), 0)
    return again, refused


def first_refusal(content: bytes) -> str:
    """The door's first complaint, for the log."""
    try:
        return json.dumps(json.loads(content)["rejected"][0], ensure_ascii=False)[:300]
    except (ValueError, KeyError, TypeError, IndexError):
        return ""
