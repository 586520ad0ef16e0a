"""A detachment's checkpoint platform that speaks the ministry's SOAP: one call for each passage, in order."""

import asyncio
import re
from collections import deque
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

import httpx
import structlog

from sim.platform import RETRY_S, RETRY_S_MAX, SEND_EVERY_S, Counts
from traffic.ingest.catalogue import direction_of
from traffic.ingest.ministry import NAMESPACE, SOAP_11, Answer

WAITING_MAX = 10_000  # passages kept while the door cannot take them; then the oldest are given up and counted
_RETURN = re.compile(rb"<return>(-?\d+)</return>")
_PLATE_COLORS = {"5": "2", "6": "1", "1": "3", "2": "0", "9": "4"}  # ColorType of GA/T 1400 -> as this interface has it
_BODY_COLORS = {"1": "J", "2": "A", "3": "B", "4": "E", "5": "H", "6": "C", "8": "I", "9": "G"}

log = structlog.get_logger(__name__)


class SoapSender:
    """One sender. `put` from the same event loop; `run` until `stop` is set. `bearings`: of gates, by code."""

    def __init__(self, client: httpx.AsyncClient, key: str, bearings: Mapping[str, float]) -> None:
        self.counts = Counts()
        self._client = client
        self._key = key
        self._bearings = bearings
        self._waiting: deque[dict[str, object]] = deque()
        self._said: int | None = None

    @property
    def waiting(self) -> int:
        """Passages not yet taken by the door."""
        return len(self._waiting)

    def put(self, records: Sequence[dict[str, object]]) -> None:
        """Hand over passages as MotorVehicleObjects, in the order of their passing."""
        self._waiting.extend(records)
        while len(self._waiting) > WAITING_MAX:
            self._waiting.popleft()
            self.counts.given_up += 1

    async def run(self, stop: asyncio.Event) -> None:
        """Send what comes until told to stop; then a last time."""
        pause_s = RETRY_S
        while not stop.is_set():
            done = await self._send_all()
            pause_s = SEND_EVERY_S if done else min(RETRY_S_MAX, pause_s * 1.5)
            try:
                await asyncio.wait_for(stop.wait(), pause_s)
            except TimeoutError:
                continue
        await self._send_all()

    async def _send_all(self) -> bool:
        while self._waiting:
            try:
                number = await self._call(self.arguments(self._waiting[0]))
            except httpx.HTTPError as error:
                log.debug("the door does not answer", why=type(error).__name__)
                return False
            if number in (Answer.BUSY, None):
                return False
            self._waiting.popleft()
            if number == Answer.OK:
                self.counts.taken += 1
            else:
                self.counts.refused += 1
                if number != self._said:
                    self._said = number
                    log.info("a passage was refused", number=number)
        return True

    def arguments(self, record: Mapping[str, object]) -> dict[str, str]:
        """A MotorVehicleObject as this interface tells it."""
        gate, at = str(record["TollgateID"]), str(record["PassTime"])
        bearing_deg = self._bearings.get(gate, 0.0)
        return {
            "kkbh": gate,
            "fxlx": str(direction_of(int(str(record.get("Direction") or 9)), bearing_deg) or 9),
            "cdh": str(record.get("LaneNo", "")),
            "hphm": str(record.get("PlateNo", "")),
            "hpzl": str(record.get("PlateClass", "")),
            "gcsj": f"{at[:4]}-{at[4:6]}-{at[6:8]} {at[8:10]}:{at[10:12]}:{at[12:14]}",
            "clsd": str(record.get("Speed") or ""),
            "cwkc": str(record.get("VehicleLength") or ""),
            "hpys": _PLATE_COLORS.get(str(record.get("PlateColor")), ""),
            "cllx": str(record.get("VehicleClass") or ""),
            "csys": _BODY_COLORS.get(str(record.get("VehicleColor")), ""),
            "tp1": str(record.get("StorageUrl1") or ""),
        }

    async def _call(self, arguments: Mapping[str, str]) -> int | None:
        """The number that answers; None where there is none."""
        inner = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in arguments.items())
        body = (
            f'<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="{SOAP_11}"><s:Body>'
            f'<n:writeVehicleInfo xmlns:n="{NAMESPACE}">{inner}</n:writeVehicleInfo></s:Body></s:Envelope>'
        )
        headers = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": '""'}
        answer = await self._client.post("/trans", params={"key": self._key}, content=body.encode(), headers=headers)
        found = _RETURN.search(answer.content) if answer.status_code == 200 else None
        return int(found[1]) if found else None
