"""The platforms of others in the twin: what of all that is seen goes by them instead of by our own senders."""

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime

import httpx

from sim.neighbour import Neighbour, is_theirs
from sim.platform809 import Account, Platform809, Told
from sim.soap import SoapSender
from traffic.demonstration import demo_file, demo_terminals
from traffic.demonstration_others import (
    CIPHER,
    NEIGHBOUR,
    SOAP,
    SOAP_UNIT,
    TRANSPORT,
    TRANSPORT_CENTRE,
    TRANSPORT_USER,
)
from traffic.errors import SettingsError
from traffic.ingest.jt809 import Cipher
from traffic.ingest.jt809_bodies import Position
from traffic.province_tables import Province
from traffic.settings import Settings
from traffic.viid_client import new_client

LOCATED = 0b11  # status of JT/T 808: engine on, with a fix
Record = dict[str, object]


class Others:
    """All of them. The transport authority's has the key vehicles whose terminals do not speak to us themselves."""

    def __init__(self, client: httpx.AsyncClient, settings: Settings, province: Province) -> None:
        passwords = _passwords(settings)
        account = Account(
            user=TRANSPORT_USER, centre=TRANSPORT_CENTRE, password=passwords[TRANSPORT], cipher=Cipher(**CIPHER),
            encrypted=True,
        )  # fmt: skip
        self.transport = Platform809(account, settings.host, settings.platform_port, clock=settings.clock)
        bearings = {gate.code: gate.bearing_deg for gate in province.checkpoints}
        self.soap = SoapSender(client, passwords[SOAP], bearings)
        resource = ",".join(gate.code for gate in province.checkpoints if gate.inter_provincial)
        self._speaking = new_client()
        self.neighbour = Neighbour(
            self._speaking, f"http://{settings.host}:{settings.door_port}", passwords[NEIGHBOUR], clock=settings.clock,
            resource=resource,
        )  # fmt: skip
        straight = {terminal.plate for terminal in demo_terminals()}
        self._colors = {
            vehicle.plate: vehicle.plate_color for vehicle in province.key_vehicles if vehicle.plate not in straight
        }

    async def run(self, stop: asyncio.Event) -> None:
        """All of them, until `stop` is set."""
        async with self._speaking, asyncio.TaskGroup() as tasks:
            for sender in (self.transport, self.soap, self.neighbour):
                tasks.create_task(sender.run(stop))

    def passages(self, unit: int, records: Sequence[Record]) -> list[Record]:
        """Take those that come another way; what is left goes by the detachment's own platform."""
        self.neighbour.put([record for record in records if is_theirs(record)])
        ours = [record for record in records if not is_theirs(record)]
        if unit != SOAP_UNIT:
            return ours
        self.soap.put(ours)
        return []

    def positions(self, records: Sequence[Record]) -> list[Record]:
        """Take those of the transport authority's vehicles; what is left goes its own way."""
        theirs = [record for record in records if record.get("plate") in self._colors]
        self.transport.put([_told(record, self._colors[str(record["plate"])]) for record in theirs])
        return [record for record in records if record.get("plate") not in self._colors]

    @property
    def waiting(self) -> int:
        """What no door has taken yet."""
        return self.transport.waiting + self.soap.waiting + self.neighbour.waiting

    def figures(self) -> dict[str, object]:
        """For the log."""
        return {
            "by_809": self.transport.counts.sent, "by_soap": self.soap.counts.taken,
            "by_subscription": self.neighbour.counts.taken, "neighbour_told": self.neighbour.told,
        }  # fmt: skip


def _told(record: Record, color: int) -> Told:
    position = Position(
        time=datetime.fromisoformat(str(record["observed_at"])), lon=float(str(record["lon"])),
        lat=float(str(record["lat"])), speed_kmh=round(float(str(record["speed_kmh"]))),
        bearing_deg=round(float(str(record["bearing_deg"]))) % 360, status=LOCATED, alarm=0,
    )  # fmt: skip
    return Told(plate=str(record["plate"]), color=color, position=position)


def _passwords(settings: Settings) -> dict[str, str]:
    path = demo_file(settings)
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))["others"]
        return {row["code"]: row["password"] for row in kept}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path} holds no secrets of other platforms: load the province first") from error
