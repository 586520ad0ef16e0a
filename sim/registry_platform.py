"""A stand-in of the national integrated platform for the demonstration: the same vehicles, and its own truth of some.

It answers after a moment, like something far away, and is away for a few minutes now and then. It runs as a process of
its own on this machine alone; nothing in the system knows that it is no real one.
"""

import asyncio
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from urllib.parse import urlsplit

import structlog
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from traffic.clock import SHANGHAI, Clock
from traffic.errors import SettingsError
from traffic.plates import class_group, fold, plate_key
from traffic.province_registry import list_cells
from traffic.province_tables import rows_of
from traffic.settings import Settings

LATENCY_S = 0.08, 0.45
AWAY_EVERY_S, AWAY_S = 1800, 90  # out of each half hour
UNKNOWN = 0.004  # share of the vehicles that it does not know
INSPECTED_FOR = timedelta(days=358)
# Unit, company and kind are ours to say; it is asked for the rest.
TOLD = (
    "plate", "plate_class", "plate_color", "vin", "brand", "body_color", "vehicle_class", "seats", "state",
    "inspection_until", "scrap_by", "insurance_until", "violations_open", "ex_commercial",
)  # fmt: skip

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What it knows of each vehicle, by plate key and class group."""

    vehicles: dict[tuple[int, int], dict[str, str]]

    @staticmethod
    def of(now: datetime) -> "Truth":
        """The demonstration's vehicles as they are with it: some inspected, scrapped or seized, unknown to us."""
        known: dict[tuple[int, int], dict[str, str]] = {}
        for row, cells in zip(rows_of("key_vehicles.csv"), list_cells("vehicles", now), strict=True):
            if share("unknown", row["plate"]) < UNKNOWN:
                continue
            told = {name: cells[name] for name in TOLD if name in cells}
            if row["platform"] == "inspected":
                told["inspection_until"] = (now.astimezone(SHANGHAI).date() + INSPECTED_FOR).isoformat()
            elif row["platform"]:
                told["state"] = row["platform"]
            known[plate_key(row["plate"]), class_group(int(row["plate_class"]))] = told
        return Truth(vehicles=known)

    def find(self, plate: str, plate_class: int) -> dict[str, str] | None:
        """What it says of a vehicle."""
        return self.vehicles.get((plate_key(fold(plate)), class_group(plate_class)))


def share(*salt: object) -> float:
    """0..1, the same for the same salt."""
    return int.from_bytes(blake2b("/".join(map(str, salt)).encode(), digest_size=4).digest(), "little") / 2**32


def is_away(now_us: int) -> bool:
    """Whether it is away at this moment of domain time: the last AWAY_S of each AWAY_EVERY_S."""
    return now_us // 1_000_000 % AWAY_EVERY_S >= AWAY_EVERY_S - AWAY_S


def build(clock: Clock, key: str, *, latency_s: tuple[float, float] = LATENCY_S, away: bool = True) -> FastAPI:
    """Its addresses. `key`: what a question must bear; `away`: with outages."""
    app = FastAPI(title="Stand-in of the national platform", docs_url=None, redoc_url=None)
    truth = Truth.of(clock.now())

    @app.get("/vehicles")
    async def vehicle(request: Request, plate: str = "", plate_class: int = 0) -> JSONResponse:
        asked = request.headers.get("authorization", "")
        if not hmac.compare_digest(asked.encode(), f"Bearer {key}".encode()):
            return JSONResponse({"error": "unknown key"}, 401)
        now = clock.now()
        if away and is_away(clock.now_us()):
            return JSONResponse({"error": "maintenance"}, 503)
        await asyncio.sleep(latency_s[0] + share("late", plate, now) * (latency_s[1] - latency_s[0]))
        found = truth.find(plate, plate_class)
        if found is None:
            return JSONResponse({"error": "no such vehicle"}, 404)
        return JSONResponse({"as_of": now.replace(second=0, microsecond=0).isoformat(), "vehicle": found})

    @app.get("/healthz")
    async def healthz() -> dict[str, int]:
        return {"vehicles": len(truth.vehicles)}

    return app


async def _run(settings: Settings) -> None:
    address = urlsplit(settings.registry_url or "")
    if not settings.registry_key or address.hostname is None or address.port is None:
        raise SettingsError("the stand-in needs TRAFFIC_REGISTRY_URL with a port, and TRAFFIC_REGISTRY_KEY")
    app = build(settings.clock, settings.registry_key)
    config = uvicorn.Config(
        app, host=address.hostname, port=address.port, log_config=None, access_log=False, server_header=False,
        limit_concurrency=64, timeout_graceful_shutdown=2,
    )  # fmt: skip
    server = uvicorn.Server(config)
    log.info("the stand-in of the national platform serves", port=address.port)
    await server.serve()


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    asyncio.run(_run(settings))
