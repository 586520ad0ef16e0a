"""Look-ups of a plate's month over the API among very many stored passages, beside the bare statement."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from statistics import median

import httpx
import msgspec
import numpy as np
import psycopg
from argon2 import PasswordHasher

from dashboards.bench.measured import Measured, Measurement, Progress, Reference
from dashboards.bench.scratch import Scratch, scratch
from dashboards.bench.stored import fill
from dashboards.bench.vehicles import plate_keys
from traffic.clock import monotonic_s
from traffic.plates import plate_text
from traffic.store import us_of

LOGIN, PASSWORD, WHY = "bench", "bench-look-ups", "bench of look-ups"
DAYS = 30
BARE = (
    "SELECT observed_at, source_hash, checkpoint, direction, lane, speed_kmh, plate_class, vehicle_class, body_color,"
    " flags FROM passage WHERE plate_key = %s AND plate_key <> 0 AND observed_at >= %s AND observed_at <= %s"
    " ORDER BY observed_at DESC, source_hash DESC LIMIT 200"
)


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`rows` stored passages of `plates` vehicles; `look_ups` tracks, then as many by `at_once` people together."""

    rows: int = 100_000_000
    plates: int = 2_000_000
    look_ups: int = 300
    at_once: int = 4
    seed: int = 1


def measure(options: Options, progress: Progress) -> Measured:
    """Fill, start the API, and ask."""
    with scratch() as instance:
        instance.renew()
        now = instance.settings.clock.now()
        fill(instance, options.rows, plates=options.plates, days=DAYS, until_us=us_of(now), progress=progress)
        _person(instance)
        instance.start("api")
        base = f"http://{instance.settings.host}:{instance.settings.port}"
        with httpx.Client(base_url=base, timeout=30) as client:
            instance.wait_for(lambda: _logged_in(client), "the API")
            random = np.random.default_rng(options.seed)
            keys = plate_keys(random.permutation(options.plates)[: 3 * options.look_ups]).tolist()
            cold, warm, bare = (
                keys[: options.look_ups],
                keys[options.look_ups : 2 * options.look_ups],
                keys[-options.look_ups :],
            )
            ours_ms, bare_ms, points = _in_turn(
                instance, client, (cold, bare), since=now - timedelta(days=DAYS), until=now
            )
            again_ms = [_ask(client, key)[0] for key in cold]
            with ThreadPoolExecutor(options.at_once) as pool:
                together_ms = [taken for taken, _ in pool.map(lambda key: _ask(client, key), warm)]
            gate_ms = [_gate(client, 1 + number % 100) for number in range(options.look_ups // 3)]
    return Measured(
        name="lookups",
        value=round(_p(ours_ms, 95), 2),
        unit="ms",
        reference=Reference(name="p95 of the bare statement over one connection", value=round(_p(bare_ms, 95), 2)),
        details={
            "rows": options.rows, "plates": options.plates, "days": DAYS, "points_median": median(points),
            "p50_ms": round(_p(ours_ms, 50), 2), "p99_ms": round(_p(ours_ms, 99), 2),
            "again_p95_ms": round(_p(again_ms, 95), 2), "at_once": options.at_once,
            "together_p95_ms": round(_p(together_ms, 95), 2), "bare_p50_ms": round(_p(bare_ms, 50), 2),
            "checkpoint_page_p95_ms": round(_p(gate_ms, 95), 2),
        },
    )  # fmt: skip


def _in_turn(
    instance: Scratch, client: httpx.Client, keys: tuple[list[int], list[int]], *, since: object, until: object
) -> tuple[list[float], list[float], list[int]]:
    """One look-up of ours, one bare statement, and so on: both meet plates that nobody has read before."""
    ours, bare, points = [], [], []
    with instance.connect() as connection:
        for mine, other in zip(*keys, strict=True):
            taken, found = _ask(client, mine)
            ours.append(taken)
            points.append(found)
            began = monotonic_s()
            connection.execute(BARE, [other, since, until]).fetchall()
            bare.append((monotonic_s() - began) * 1e3)
    return ours, bare, points


def _ask(client: httpx.Client, key: int) -> tuple[float, int]:
    began = monotonic_s()
    answer = client.get("/api/tracks", params={"plate": plate_text(key) or "", "purpose": WHY})
    answer.raise_for_status()
    return (monotonic_s() - began) * 1e3, len(answer.json()["points"])


def _gate(client: httpx.Client, gate: int) -> float:
    began = monotonic_s()
    client.get(f"/api/checkpoints/{gate}/passages", params={"purpose": WHY}).raise_for_status()
    return (monotonic_s() - began) * 1e3


def _person(instance: Scratch) -> None:
    with psycopg.connect(str(instance.settings.database_url), autocommit=True) as connection:
        connection.execute(
            "INSERT INTO person (login, name, unit_id, role, clearance, password_hash)"
            " VALUES (%s, 'bench', 1, 'commander', 0, %s)",
            [LOGIN, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)],
        )


def _logged_in(client: httpx.Client) -> bool:
    try:
        return client.post("/api/login", json={"login": LOGIN, "password": PASSWORD}).status_code == 200
    except httpx.HTTPError:
        time.sleep(0.1)
        return False


def _p(values: list[float], share: float) -> float:
    return float(np.percentile(values, share))


BENCH = Measurement(
    describe=f"a plate's {DAYS} days among 10^8 stored passages, over the API", options=Options, measure=measure
)
