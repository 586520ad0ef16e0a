"""What a demonstration instance has beyond the model province: people, senders and a watch list.

Passwords and keys are random for each instance and stand in `demo.json` of its data folder (its owner alone
reads it); a database made anew takes them over from there.
"""

import csv
import json
import os
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import psycopg
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from traffic.audience import RESTRICTED
from traffic.demonstration_others import new_secrets, store_others
from traffic.errors import SettingsError
from traffic.plates import fold, plate_key
from traffic.province_tables import model_province
from traffic.secrets import REALM, SecretUnreadable, decrypt, encrypt, ha1, key_hash
from traffic.settings import Settings
from traffic.units import DETACHMENT, UnitTree

CORPS = 1
LIVELY_DETACHMENT, LIVELY_BRIGADE, LIVELY_SQUADRON = 100, 9901, 990101  # where the twin sees to it that things happen
# login, name, unit, role, clearance: one person at each level, and an administrator
PEOPLE = (
    ("corps", "总队指挥长", CORPS, "commander", RESTRICTED),
    ("changchun", "长春支队值班员", LIVELY_DETACHMENT, "dispatcher", 0),
    ("expressway", "高速公路长春大队值班员", LIVELY_BRIGADE, "dispatcher", 0),
    ("squadron", "京哈高速中队民警", LIVELY_SQUADRON, "crew", 0),
    ("admin", "系统管理员", CORPS, "administrator", 0),
)
NATIVE_SENDER, NATIVE_SENDER_NAME = "native-demo", "全省卡口汇聚系统"
EXPRESSWAY_DETACHMENT = 9900
WATCHED_FOR = timedelta(days=180)
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"


def watch_rows() -> list[dict[str, str]]:
    """The demonstration's watch list, with how each vehicle looks and on which unit's roads it stays (`keeps_to`)."""
    text = (files("traffic") / "data" / "jilin" / "watchlist.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def platforms() -> list[tuple[str, str, int]]:
    """(20-digit code, name, unit) of the GA/T 1400 platform of each detachment."""
    found = []
    for unit in (unit for unit in model_province().units if unit.level == DETACHMENT):
        serial = 2 if unit.id == EXPRESSWAY_DETACHMENT else 1
        name = unit.name.replace("公安局交通警察支队", "").replace("吉林省公安厅", "").removesuffix("交通警察支队")
        found.append((f"{unit.adcode or 220000}00005030{serial:06d}", f"{name}卡口接入平台", unit.id))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoTerminal:
    """The JT/T 808 terminal of a key vehicle that drives; it registers by itself, as a new one does."""

    phone: str
    number: str
    plate: str
    plate_key: int
    class_group: int
    plate_color: int
    unit_id: int
    of_2019: bool


def demo_terminals() -> list[DemoTerminal]:
    """Every second key vehicle on the road has its terminal linked straight to the police."""
    driving = [vehicle for vehicle in model_province().key_vehicles if vehicle.drives]
    return [
        DemoTerminal(
            phone=f"1390431{number:04d}", number=f"TC{number:05d}", plate=vehicle.plate, plate_key=vehicle.plate_key,
            class_group=vehicle.class_group, plate_color=vehicle.plate_color, unit_id=vehicle.unit_id,
            of_2019=number % 2 == 1,
        )
        for number, vehicle in enumerate(driving[::2], start=1)
    ]  # fmt: skip


def demo_file(settings: Settings) -> Path:
    """Where the instance's demonstration secrets stand."""
    return settings.data_dir / "demo.json"


def load_demo(settings: Settings, connection: psycopg.Connection, now: datetime) -> dict[str, int]:
    """Write people, senders and watch list where they are missing or their secrets differ; returns rows per table."""
    if not settings.secret_key:
        raise SettingsError("TRAFFIC_SECRET_KEY is needed to store the secrets of devices")
    secret = known_secrets(settings)
    with connection.transaction():
        people = _people(connection, secret["people"])  # the writers' role knows no persons
        connection.execute("SET LOCAL ROLE traffic_writer")  # the watch list stands under row-level security
        written = {
            "person": people,
            "device": _devices(connection, settings.secret_key, secret, now)
            + store_others(connection, settings.secret_key, secret["others"], now),
            "watchlist_entry": _watch(connection, now),
            "terminal": _terminals(connection),
        }
        if written["device"]:
            connection.execute("UPDATE version SET value = value + 1 WHERE name = 'device'")
        connection.execute("RESET ROLE")
    return written


def known_secrets(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """The secrets of `demo.json`; what is missing there is made and added."""
    path = demo_file(settings)
    try:
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        passwords = {row["login"]: row["password"] for row in kept.get("people", [])}
        devices = {row["code"]: row["password"] for row in kept.get("devices", [])}
        keys = {row["name"]: row["key"] for row in kept.get("native", [])}
        others = new_secrets(kept.get("others", []))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"{path} is damaged: remove it and new secrets are made ({error})") from error
    names = {unit.id: unit.name for unit in model_province().units}
    wanted: dict[str, list[dict[str, Any]]] = {
        "people": [
            {"login": login, "password": passwords.get(login) or _password(), "name": name, "unit": names[unit]}
            for login, name, unit, _, _ in PEOPLE
        ],
        "devices": [
            {"code": code, "password": devices.get(code) or _password(), "unit_id": unit}
            for code, _, unit in platforms()
        ],
        "native": [{"name": NATIVE_SENDER, "key": keys.get(NATIVE_SENDER) or secrets.token_urlsafe(24)}],
        "others": others,
    }
    if wanted != kept:
        _write_private(path, json.dumps(wanted, ensure_ascii=False, indent=1) + "\n")
    return wanted


def _password() -> str:
    """60 bits in letters that are not mistaken for each other."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(3))


def _write_private(path: Path, text: str) -> None:
    """Whole or not at all, and readable by the owner only from the first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)


def _people(connection: psycopg.Connection, known: list[dict[str, Any]]) -> int:
    hasher, written = PasswordHasher(), 0
    stored = {row[0]: row[1:] for row in connection.execute("SELECT login, unit_id, password_hash FROM person")}
    for (login, name, unit, role, clearance), secret in zip(PEOPLE, known, strict=True):
        found_unit, password_hash = stored.get(login, (None, ""))
        if found_unit == unit and _fits(hasher, password_hash, secret["password"]):
            continue
        connection.execute(
            "INSERT INTO person (login, name, unit_id, role, clearance, password_hash) VALUES (%s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (login) DO UPDATE SET name = excluded.name, unit_id = excluded.unit_id,"
            " password_hash = excluded.password_hash",
            [login, name, unit, role, clearance, hasher.hash(secret["password"])],
        )
        written += 1
    return written


def _fits(hasher: PasswordHasher, stored: str, password: str) -> bool:
    try:
        return hasher.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False


def _devices(connection: psycopg.Connection, secret_key: str, known: dict[str, list], now: datetime) -> int:
    stored: dict[str, bytes] = {code: secret for code, secret in connection.execute("SELECT code, secret FROM device")}
    passwords = {row["code"]: row["password"] for row in known["devices"]}
    written = 0
    for code, name, unit in platforms():
        wanted = ha1(code, REALM, passwords[code]).encode()
        if code not in stored or not _decrypts_to(secret_key, stored[code], wanted):
            _store_device(connection, (code, name, unit, "gat1400", encrypt(secret_key, wanted)), now)
            written += 1
    key = key_hash(known["native"][0]["key"])
    if stored.get(NATIVE_SENDER) != key:
        _store_device(connection, (NATIVE_SENDER, NATIVE_SENDER_NAME, CORPS, "native", key), now)
        written += 1
    return written


def _decrypts_to(secret_key: str, stored: bytes, wanted: bytes) -> bool:
    try:
        return decrypt(secret_key, stored) == wanted
    except SecretUnreadable:
        return False


def _store_device(connection: psycopg.Connection, row: tuple[str, str, int, str, bytes], now: datetime) -> None:
    connection.execute(
        "INSERT INTO device (code, name, unit_id, kind, secret, changed_at, changed_by)"
        " VALUES (%s, %s, %s, %s, %s, %s, 'setup')"
        " ON CONFLICT (code) DO UPDATE SET secret = excluded.secret, changed_at = excluded.changed_at,"
        " changed_by = excluded.changed_by",
        [*row, now],
    )


def _watch(connection: psycopg.Connection, now: datetime) -> int:
    """Entries that are missing come in with one new version of the list; known numbers stay as people left them."""
    model = model_province()
    everyone = sorted(UnitTree(model.units, model.parents, at=now).units)
    stored = {row[0] for row in connection.execute("SELECT number FROM watchlist_entry")}
    missing = [row for row in watch_rows() if row["number"] not in stored]
    if not missing:
        return 0
    version = connection.execute(
        "UPDATE version SET value = value + 1 WHERE name = 'watchlist' RETURNING value"
    ).fetchone()
    for row in missing:
        restricted = int(row["visibility"]) == RESTRICTED
        plate = fold(row["plate"])
        connection.execute(
            "INSERT INTO watchlist_entry (number, plate, plate_key, category, level, facts, intercept, unit_id,"
            " visibility, audience, addressees, state, valid_from, valid_to, version, applied_by, approved_by)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 'active', %s, %s, %s, 'changchun', 'corps')",
            [row["number"], plate, plate_key(plate), int(row["category"]), int(row["level"]), row["facts"],
             row["intercept"] == "1", CORPS, int(row["visibility"]), [CORPS] if restricted else everyone,
             [CORPS] if restricted else [], now, now + WATCHED_FOR, version[0] if version else 1],
        )  # fmt: skip
    return len(missing)


def _terminals(connection: psycopg.Connection) -> int:
    """Terminals that are missing; what people made of the others stays."""
    stored = {row[0] for row in connection.execute("SELECT phone FROM terminal")}
    missing = [row for row in demo_terminals() if row.phone not in stored]
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO terminal (phone, plate_key, class_group, plate, plate_color, number, unit_id)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [(row.phone, row.plate_key, row.class_group, row.plate, row.plate_color, row.number, row.unit_id)
             for row in missing],
        )  # fmt: skip
    return len(missing)
