"""The platforms of others in a demonstration: the transport authority's, a detachment that speaks SOAP, a neighbour.

Their passwords and keys stand in `demo.json` beside those of our own senders.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
import psycopg
from psycopg.types.json import Jsonb

from traffic.ingest.links import PlatformSecret
from traffic.province_tables import model_province
from traffic.secrets import REALM, SecretUnreadable, decrypt, encrypt, ha1, key_hash

CORPS, SOAP_UNIT = 1, 400
TRANSPORT, SOAP, NEIGHBOUR = "transport-809", "liaoyuan-soap", "21000000005030000001"
TRANSPORT_USER, TRANSPORT_CENTRE = 2201, 22_000_001
CIPHER = {"m1": 30_000_000, "ia1": 20_000_000, "ic1": 20_000_000}
# A camera gate on the border that the neighbour runs: its passages come by our subscription there.
BORDER_GATE, BORDER_GATE_THERE = "22030300001210000001", "21120000001210000001"
OUR_SUBSCRIPTION = "220000000000" + "03" + "20240101000000" + "00001"
THEIR_SUBSCRIPTION = "210000000000" + "03" + "20240101000000" + "00001"
SUBSCRIBED_FOR = timedelta(days=5 * 365)


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """A sender's row."""

    code: str
    name: str
    unit: int
    kind: str
    link: Mapping[str, Any] = field(default_factory=dict)


def others() -> tuple[Other, ...]:
    """Who there is."""
    shared = sorted(gate.code for gate in model_province().checkpoints if gate.inter_provincial)
    return (
        Other(
            code=TRANSPORT, name="省交通运输厅车辆监控平台", unit=CORPS, kind="jt809",
            link={"user": TRANSPORT_USER, "centre": TRANSPORT_CENTRE},
        ),
        Other(code=SOAP, name="辽源支队集成平台接口", unit=SOAP_UNIT, kind="ministry"),
        Other(
            code=NEIGHBOUR, name="辽宁省视图库平台", unit=CORPS, kind="gat1400",
            link={"peers": ["127.0.0.1"], "codes": {BORDER_GATE_THERE: BORDER_GATE}, "share": shared},
        ),
    )  # fmt: skip


def new_secrets(kept: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Code and password of each, as kept or made anew; the transport authority's has 8 characters, as its norm has."""
    known = {row["code"]: row["password"] for row in kept}
    return [
        {"code": other.code, "password": known.get(other.code) or secrets.token_hex(4 if other.kind == "jt809" else 12)}
        for other in others()
    ]


def store_others(connection: psycopg.Connection, secret_key: str, known: list[dict[str, Any]], now: datetime) -> int:
    """Write those that are missing or whose secret differs, and our subscription at the neighbour; how many rows."""
    stored: dict[str, bytes] = dict(connection.execute("SELECT code, secret FROM device").fetchall())
    passwords = {row["code"]: row["password"] for row in known}
    written = 0
    for other in others():
        wanted = _wanted(other, passwords[other.code])
        if _holds(secret_key, other, stored.get(other.code), wanted):
            continue
        secret = wanted if other.kind == "ministry" else encrypt(secret_key, wanted)
        connection.execute(
            "INSERT INTO device (code, name, unit_id, kind, secret, link, changed_at, changed_by)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, 'setup')"
            " ON CONFLICT (code) DO UPDATE SET secret = excluded.secret, changed_at = excluded.changed_at,"
            " changed_by = excluded.changed_by",
            [other.code, other.name, other.unit, other.kind, secret, Jsonb(dict(other.link)), now],
        )
        written += 1
    subscribed = connection.execute(
        "INSERT INTO subscription (id, direction, device_id, title, detail, resource, receive_addr, interval_s,"
        " begins_at, ends_at, status, changed_at)"
        " SELECT %s, 'in', id, '省界卡口过车', '13', %s, '', 0, %s, %s, 0, %s FROM device WHERE code = %s"
        " ON CONFLICT (id) DO NOTHING",
        [OUR_SUBSCRIPTION, BORDER_GATE_THERE, now, now + SUBSCRIBED_FOR, now, NEIGHBOUR],
    ).rowcount
    if subscribed:
        connection.execute("UPDATE version SET value = value + 1 WHERE name = 'subscription'")
    return written


def _wanted(other: Other, password: str) -> bytes:
    if other.kind == "jt809":
        return msgspec.json.encode(PlatformSecret(password=password, **CIPHER))
    return key_hash(password) if other.kind == "ministry" else ha1(other.code, REALM, password).encode()


def _holds(secret_key: str, other: Other, stored: bytes | None, wanted: bytes) -> bool:
    if stored is None or other.kind == "ministry":
        return stored == wanted
    try:
        return decrypt(secret_key, stored) == wanted
    except SecretUnreadable:
        return False
