"""Snapshot pages of registered vehicles: head, columns, pending sightings, what stands, digest."""

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np

from traffic.readings import logical_partitions
from traffic.vehicles.keyed import shapes
from traffic.vehicles.state import SnapshotUnreadable

FORMAT = 1  # first byte of a page; a worker reads this one only: another means a rebuild from the tables
_DIGEST_BYTES = 16
_HEAD = np.dtype(
    [
        ("format", "u1"),
        ("spare", "u1"),
        ("logical", "<u2"),
        ("shapes", "<u4"),  # of the records: another build of the rules cannot read them
        ("heard_us", "<i8"),
        ("vehicles", "<u4"),
        ("evidence", "<u4"),
        ("periods", "<u4"),
        ("pending", "<u4"),
        ("standing", "<u4"),
        ("more", "<u4"),
    ]
)
_ROW = np.dtype([("key", "<i8"), ("newest", "<i8"), ("settled_to", "<i8"), ("count", "<u2"), ("spare", "V6")])
_PLACED = np.dtype([("row", "<u4"), ("place", "<u4")])  # where a piece of evidence or a period stands
_OF_ROW = np.dtype("<u4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a page holds, by column; `standing`: (number of the vehicle, event, its proofs)."""

    logical: int
    heard_us: int
    keys: np.ndarray
    newest: np.ndarray
    settled_to: np.ndarray
    memory: np.ndarray
    evidence: np.ndarray
    periods: np.ndarray
    count: np.ndarray
    pending: np.ndarray
    standing: list[tuple[int, np.void, np.ndarray]] = field(default_factory=list)


def _shapes() -> int:
    text = "|".join(str(part.descr) for part in (shapes.SIGHTING, shapes.MEMORY, shapes.PERIOD, shapes.EVENT))
    return int.from_bytes(
        blake2b(f"{text}|{shapes.EVIDENCE}|{shapes.PERIODS}".encode(), digest_size=4).digest(), "little"
    )


def write(page: Page) -> bytes:
    """The bytes of a page; empty evidence and periods are left out."""
    rows = np.zeros(len(page.keys), _ROW)
    rows["key"], rows["newest"], rows["settled_to"] = page.keys, page.newest, page.settled_to
    rows["count"] = page.count
    evidence_at = _places(page.evidence["at"] != 0)
    periods_at = _places(_closed(page))
    standing_of = np.array([number for number, _, _ in page.standing], _OF_ROW)
    events = np.array([event for _, event, _ in page.standing], shapes.EVENT)
    proofs = np.zeros((len(page.standing), shapes.PROOFS), shapes.SIGHTING)
    for number, (_, _, of_event) in enumerate(page.standing):
        proofs[number] = of_event
    head = np.zeros(1, _HEAD)
    head[0] = (
        FORMAT, 0, page.logical, _shapes(), page.heard_us, len(rows), len(evidence_at), len(periods_at),
        len(page.pending), len(events), 0,
    )  # fmt: skip
    parts = (
        head, rows, page.memory, evidence_at, page.evidence[evidence_at["row"], evidence_at["place"]],
        periods_at, page.periods[periods_at["row"], periods_at["place"]], page.pending, standing_of, events, proofs,
    )  # fmt: skip
    body = b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
    return body + blake2b(body, digest_size=_DIGEST_BYTES).digest()


def _closed(page: Page) -> np.ndarray:
    """Which places of the rings hold settled periods: others are of the head, and will be written anew."""
    last = page.memory["periods"][:, None]
    number = last - 1 - (last - 1 - np.arange(shapes.PERIODS)) % shapes.PERIODS  # the newest that stands there
    return (number >= 0) & (number >= last - shapes.PERIODS_COUNTED)


def _places(held: np.ndarray) -> np.ndarray:
    row, place = np.nonzero(held)
    found = np.zeros(len(row), _PLACED)
    found["row"], found["place"] = row, place
    return found


def read(logical: int, page: bytes) -> Page:
    """The columns of a page; everything that the state relies on is checked. Raises SnapshotUnreadable."""
    if len(page) < _HEAD.itemsize + _DIGEST_BYTES or page[0] != FORMAT:
        raise SnapshotUnreadable(f"keyed page {logical} has format {page[0] if page else 'none'}, not {FORMAT}")
    body, digest = page[:-_DIGEST_BYTES], page[-_DIGEST_BYTES:]
    if blake2b(body, digest_size=_DIGEST_BYTES).digest() != digest:
        raise SnapshotUnreadable(f"keyed page {logical} is damaged")
    head = np.frombuffer(body, _HEAD, 1)[0]
    if int(head["logical"]) != logical or int(head["shapes"]) != _shapes():
        raise SnapshotUnreadable(f"keyed page {logical} is another page, or of other rules")
    vehicles, standing = int(head["vehicles"]), int(head["standing"])
    wanted = (
        (_ROW, vehicles), (shapes.MEMORY, vehicles),
        (_PLACED, int(head["evidence"])), (shapes.SIGHTING, int(head["evidence"])),
        (_PLACED, int(head["periods"])), (shapes.PERIOD, int(head["periods"])),
        (shapes.SIGHTING, int(head["pending"])),
        (_OF_ROW, standing), (shapes.EVENT, standing), (shapes.SIGHTING, standing * shapes.PROOFS),
    )  # fmt: skip
    if len(body) != _HEAD.itemsize + sum(dtype.itemsize * many for dtype, many in wanted):
        raise SnapshotUnreadable(f"keyed page {logical} has not the length that its head tells")
    parts: list[Any] = []
    at = _HEAD.itemsize
    for dtype, many in wanted:
        parts.append(np.frombuffer(body, dtype, many, at))
        at += dtype.itemsize * many
    rows, memory, evidence_at, evidence, periods_at, periods, pending, standing_of, events, proofs = parts
    if not _agree(logical, rows, (evidence_at, periods_at), pending, standing_of):
        raise SnapshotUnreadable(f"keyed page {logical} contradicts itself")
    return Page(
        logical=logical,
        heard_us=int(head["heard_us"]),
        keys=rows["key"].copy(),
        newest=rows["newest"],
        settled_to=rows["settled_to"],
        memory=memory,
        evidence=_laid_out(evidence_at, evidence, vehicles, shapes.EVIDENCE),
        periods=_laid_out(periods_at, periods, vehicles, shapes.PERIODS),
        count=rows["count"].astype(np.int64),
        pending=pending,
        standing=[
            (int(number), events[at].copy(), proofs[shapes.PROOFS * at : shapes.PROOFS * (at + 1)].copy())
            for at, number in enumerate(standing_of.tolist())
        ],
    )


def _agree(
    logical: int,
    rows: np.ndarray,
    placed: tuple[np.ndarray, np.ndarray],
    pending: np.ndarray,
    standing_of: np.ndarray,
) -> bool:
    keys = rows["key"]
    return (
        int(rows["count"].sum(dtype=np.int64)) == len(pending)
        and int(rows["count"].max(initial=0)) <= shapes.PENDING_MAX * 2
        and bool((np.diff(keys) > 0).all())
        and bool((logical_partitions(keys) == logical).all())
        and all(int(at["row"].max(initial=0)) < max(1, len(rows)) for at in placed)
        and int(placed[0]["place"].max(initial=0)) < shapes.EVIDENCE
        and int(placed[1]["place"].max(initial=0)) < shapes.PERIODS
        and int(standing_of.max(initial=0)) < max(1, len(rows))
    )


def _laid_out(at: np.ndarray, values: np.ndarray, rows: int, width: int) -> np.ndarray:
    table = np.zeros((rows, width), values.dtype)
    table[at["row"], at["place"]] = values
    return table
