"""`traffic import`: a file streamed to the doors, with a line of progress on a terminal."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from traffic.clock import monotonic_s
from traffic.errors import ServiceError, SettingsError

PART_BYTES = 256 * 1024
TOLD_EVERY_S = 0.5
# A door that waits for a full bus does not read, and answers only when it has given up.
PATIENCE = httpx.Timeout(connect=10.0, read=300.0, write=300.0, pool=10.0)
SHOWN_MAX = 10
_TYPES = {".csv": "text/csv", ".ndjson": "application/x-ndjson", ".jsonl": "application/x-ndjson"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Which file goes where, as what kind of record."""

    kind: str
    path: Path
    url: str
    key: str
    charset: str


def hand_in(order: Order) -> dict[str, Any]:
    """Send the file and return the door's report; raises SettingsError and ServiceError with one sentence."""
    packed = order.path.suffix.lower() == ".gz"
    media_type = _TYPES.get((order.path.with_suffix("") if packed else order.path).suffix.lower())
    if media_type is None:
        raise SettingsError(f"{order.path}: the name must end in .csv, .ndjson or .jsonl (and may then end in .gz)")
    if not order.path.is_file():
        raise SettingsError(f"{order.path} is no file")
    identity = str(uuid4())
    headers = {
        "Authorization": f"Bearer {order.key}",
        "Import-Id": identity,
        "Content-Type": f"{media_type}; charset={order.charset}" if media_type == "text/csv" else media_type,
        "Content-Length": str(order.path.stat().st_size),
    }
    if packed:
        headers["Content-Encoding"] = "gzip"
    with httpx.Client(base_url=order.url, timeout=PATIENCE) as client:
        return _sent(client, order, identity, headers)


def _sent(client: httpx.Client, order: Order, identity: str, headers: dict[str, str]) -> dict[str, Any]:
    try:
        answer = client.post(f"/api/import/{order.kind}", content=_parts(order.path), headers=headers)
    except httpx.TransportError as error:
        # A door that has answered early hangs up on what still comes: its report tells what it took.
        found = _report_of(client, identity, headers["Authorization"])
        if found is None:
            raise ServiceError(f"the doors at {order.url} cannot be reached: {error}") from error
        return found
    found = _read(answer)
    if "state" not in found:
        message = found.get("error", {}).get("message") or f"HTTP {answer.status_code}"
        raise ServiceError(f"the door refused the file: {message}")
    return found


def _report_of(client: httpx.Client, identity: str, authorization: str) -> dict[str, Any] | None:
    try:
        answer = client.get(f"/api/import/{identity}", headers={"Authorization": authorization})
    except httpx.TransportError:
        return None
    found = _read(answer)
    return found if answer.status_code == 200 and "state" in found else None


def _read(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _parts(path: Path) -> Iterator[bytes]:
    """The file in parts; what is sent is about what the door has read, since it takes no more than it can hand on."""
    size = max(path.stat().st_size, 1)
    sent, told_s = 0, 0.0
    shown = sys.stderr.isatty()
    with path.open("rb") as file:
        while part := file.read(PART_BYTES):
            yield part
            sent += len(part)
            if shown and monotonic_s() - told_s > TOLD_EVERY_S:
                told_s = monotonic_s()
                print(f"\r{path.name}: {sent / size:6.1%} of {size / 1e6:,.1f} MB", end="", file=sys.stderr, flush=True)
    if shown:
        print(f"\r{path.name}: 100.0% of {size / 1e6:,.1f} MB", file=sys.stderr, flush=True)


def summary(report: dict[str, Any]) -> str:
    """What became of the file, for a person: the counts and the first refusals."""
    counts = (
        f"{report['rows']:,} records: {report['accepted']:,} accepted, {report['rejected']:,} refused, "
        f"{report['not_taken']:,} not taken"
    )
    lines = [counts]
    if report["state"] != "done":
        lines.append(f"{report['state']} behind line {report['line']}: {report['error']}")
    if report["ignored_columns"]:
        lines.append(f"columns not known: {', '.join(report['ignored_columns'])}")
    for refusal in report["refusals"][:SHOWN_MAX]:
        field = f" {refusal['field']}" if refusal["field"] else ""
        lines.append(f"line {refusal['line']}:{field} {refusal['reason']}: {refusal['detail']}")
    if report["rejected"] > SHOWN_MAX:
        lines.append("more of them are in the report (--report FILE); all are in quarantine")
    return "\n".join(lines)
