"""What people do to a finding (verify, shelve, take off the shelf), and what a verdict says of checkpoints. Pure."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from traffic.findings import MISREAD, WATCH_HIT, Change, Finding, Shelf, Verification
from traffic.readings import AlertDeed
from traffic.zone import SHANGHAI

# Why a hit is false: the plate is another one; a clone carries it; it is rightly read, but of another vehicle; ...
# A reason is one of these codes, or one with a note ("misread: 7 taken for 1"); other words are as good as `other`.
FALSE_REASONS = ("misread", "cloned", "wrong_vehicle", "test", "other")
_READ_RIGHTLY = {"misread": False, "cloned": True, "wrong_vehicle": True}  # the others do not say how it was read

Count = tuple[int, str, int, int]  # checkpoint, day, valid readings, false readings


def apply(finding: Finding, deed: AlertDeed, *, now_us: int) -> Finding | None:
    """The finding after this deed, one revision on; None where there is nothing to change."""
    if deed.action == "verify":
        return _verified(finding, deed, now_us)
    if deed.action == "shelve":
        if deed.until <= now_us or finding.state != "active":
            return None
        shelf = Shelf(reason=deed.reason, until=deed.until, by=deed.by, at=deed.at)
        return None if shelf == finding.shelf else _revised(finding, "shelved", deed, now_us, shelf=shelf)
    return None if finding.shelf is None else _revised(finding, "unshelved", deed, now_us, shelf=None)


def shelf_ended(finding: Finding, *, now_us: int) -> Finding | None:
    """The finding off the shelf, when its time has come."""
    if finding.shelf is None or finding.shelf.until > now_us:
        return None
    return replace(
        finding,
        revision=finding.revision + 1,
        change="unshelved",
        raised_at=now_us,
        shelf=None,
        cause={"reason": "shelf_ended", "at": finding.shelf.until},
    )


def _verified(finding: Finding, deed: AlertDeed, now_us: int) -> Finding | None:
    if deed.verdict not in ("valid", "false"):
        return None
    before = finding.verification
    if before is not None and (before.verdict, before.reason, before.by) == (deed.verdict, deed.reason, deed.by):
        return None
    verification = Verification(
        verdict=deed.verdict,  # type: ignore[arg-type]
        reason=deed.reason,
        by=deed.by,
        unit=deed.unit,
        at=deed.at,
        revision=finding.revision,
        reads=tuple(sorted(finding.detail.get("match", {}).get("reads", ()))),
        counted=_counted(finding, deed),
    )
    return _revised(finding, "verified", deed, now_us, verification=verification)


def _revised(finding: Finding, change: Change, deed: AlertDeed, now_us: int, **fields: Any) -> Finding:
    """The cause of the revision is the deed: its id tells a repeated one."""
    told = {"deed": deed.id, "by": deed.by, "unit": deed.unit, "at": deed.at, "reason": deed.reason}
    if deed.verdict:
        told["verdict"] = deed.verdict
    return replace(finding, revision=finding.revision + 1, change=change, raised_at=now_us, cause=told, **fields)


# ---------------------------------------------------------------- what it says of the checkpoints
def _counted(finding: Finding, deed: AlertDeed) -> tuple[Count, ...]:
    """One reading right or wrong for each checkpoint that the finding rests on."""
    is_right = _read_rightly(finding, deed)
    if is_right is None:
        return ()
    day = day_of(deed.at)
    gates = sorted({seen.checkpoint for seen in finding.observations if seen.source == "passage"})
    return tuple((gate, day, int(is_right), int(not is_right)) for gate in gates)


def _read_rightly(finding: Finding, deed: AlertDeed) -> bool | None:
    """Whether the plate was read as it is; None where the verdict does not say.

    A hit by a misread character that is valid means that the camera was wrong.
    """
    if deed.verdict == "false":
        return _READ_RIGHTLY.get(deed.reason.partition(":")[0].strip())
    return not (finding.kind == WATCH_HIT and finding.detail.get("match", {}).get("how") == MISREAD)


def difference(before: Finding | None, after: Finding) -> list[Count]:
    """What a change of verdict adds to the checkpoints' records and takes back from them."""
    old = before.verification.counted if before is not None and before.verification is not None else ()
    new = after.verification.counted if after.verification is not None else ()
    if old == new or after.change != "verified":
        return []
    return [(gate, day, -valid, -misread) for gate, day, valid, misread in old] + list(new)


def day_of(us: int) -> str:
    """The day in Asia/Shanghai, as 2026-11-24."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    return moment.astimezone(SHANGHAI).date().isoformat()
