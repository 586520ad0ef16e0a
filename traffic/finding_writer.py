"""Findings in the transaction of a batch: folded into what is stored, with what people did to them, and told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import psycopg
import structlog

from traffic import deeds, findings, store, verdicts
from traffic.feed_writer import FeedRow
from traffic.findings import Candidate, Finding
from traffic.plates import plate_text
from traffic.readings import AlertDeed
from traffic.store import SQL

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a batch says of findings. `tick_us`: how far time went by the batch's ticks; 0: it holds none.

    `slot`: a partition of this worker, for changes that came by none.
    """

    candidates: Sequence[tuple[int, Candidate]]  # with the partition under which each is told
    deeds: Sequence[tuple[int, AlertDeed]]
    tick_us: int
    slot: int
    odd_plates: Mapping[int, str] = field(default_factory=dict)


class _Sheet:
    """The findings of one transaction: as they were, as they stand, and each revision on the way."""

    def __init__(self, stored: dict[UUID, Finding]) -> None:
        self.before = dict(stored)
        self.now = stored
        self.revisions: list[tuple[Finding, int]] = []
        self.counts: list[verdicts.Count] = []

    def take(self, finding: Finding | None, partition: int) -> None:
        """The finding as it stands from here on; None: nothing changed."""
        if finding is None:
            return
        self.counts += verdicts.difference(self.now.get(finding.id), finding)
        self.now[finding.id] = finding
        self.revisions.append((finding, partition))


def write(connection: psycopg.Connection, said: Said, *, now_us: int) -> list[FeedRow]:
    """Fold candidates, then deeds, into what is stored; only what changed is written and told."""
    fresh = deeds.not_done(connection, said.deeds)
    ended = deeds.shelves_ended(connection, said.tick_us) if said.tick_us else []
    if not (said.candidates or fresh or ended):
        return []
    ids = [findings.finding_id(c.kind, c.plate_key, c.class_group, c.anchor) for _, c in said.candidates]
    concerned = {*ids, *(finding for _, finding, _ in fresh), *ended}
    sheet = _Sheet(store.read_findings(connection, sorted(concerned)))
    for identity, (partition, candidate) in zip(ids, said.candidates, strict=True):
        sheet.take(findings.fold(sheet.now.get(identity), candidate, now_us=now_us), partition)
    for partition, identity, deed in fresh:
        if identity in sheet.now:
            sheet.take(verdicts.apply(sheet.now[identity], deed, now_us=now_us), partition)
        else:
            log.warning("a deed on a finding that there is not", deed=deed.id, finding=str(identity))
    for identity in ended:
        sheet.take(verdicts.shelf_ended(sheet.now[identity], now_us=said.tick_us), said.slot)
    store.write_findings(connection, sheet.revisions)
    deeds.count(connection, sheet.counts)
    _ask_for_pictures(connection, sheet)
    plates = _plates(connection, sheet, said.odd_plates)
    return [_told(finding, partition, plates[finding.plate_key]) for finding, partition in sheet.revisions]


def _told(finding: Finding, partition: int, plate: str) -> FeedRow:
    return FeedRow(
        partition=partition,
        topic="alerts",
        kind="finding",
        key=str(finding.id),
        units=finding.audience.units,
        visibility=finding.audience.visibility,
        addressees=finding.audience.addressees,
        body=findings.card(finding, plate),
    )


def _ask_for_pictures(connection: psycopg.Connection, sheet: _Sheet) -> None:
    """Note the addresses of the pictures of observations that are new in their finding; the copier fetches them."""
    wanted: list[tuple[UUID, str, int, int]] = []
    for identity in {finding.id for finding, _ in sheet.revisions}:
        before = sheet.before.get(identity)
        known = {seen.record for seen in before.observations} if before else set()
        for seen in sheet.now[identity].observations:
            at, colon, source = seen.record.partition(":")
            if seen.source == "passage" and seen.record not in known and colon:
                wanted.append((identity, seen.record, int(at), int(source)))
    if wanted:
        ids, records, times, hashes = zip(*sorted(wanted), strict=True)
        values = {"findings": list(ids), "records": list(records), "times": list(times), "hashes": list(hashes)}
        connection.execute(SQL["pictures_wait"], values)


def _plates(connection: psycopg.Connection, sheet: _Sheet, odd: Mapping[int, str]) -> dict[int, str]:
    """The texts of the findings' plates; of odd ones out of the batch or the table."""
    keys = {finding.plate_key for finding, _ in sheet.revisions}
    texts = {key: plate_text(key) or odd.get(key) for key in keys}
    unknown = [key for key, text in texts.items() if text is None]
    if unknown:
        texts.update(connection.execute(SQL["odd_plates_read"], {"keys": unknown}).fetchall())
    return {key: text or "" for key, text in texts.items()}
