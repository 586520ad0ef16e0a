"""Senders with their health: who still speaks, how much of it was refused and why, whether its clock is right."""

from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query

from dashboards.api.errors import NotFound
from dashboards.api.registry_reach import audit, beginning, first, part, rows
from dashboards.auth import DepsOf, DevicesActor
from dispatch.access import Action, may

router = APIRouter(prefix="/api/devices", tags=["devices"])
QUIET = timedelta(minutes=3)  # without a sign of life: three keepalives of a minute missed
OF_LATE = timedelta(hours=24)
SENSORS_MAX = 50
HIGHEST = 2**63 - 1
Kind = Literal["gat1400", "native", "ministry", "jt808", "jt809"]
State = Literal["alive", "quiet", "unregistered", "never", "off"]


@router.get("")
async def list_devices(  # noqa: PLR0913 - one for each thing that a list is asked by
    actor: DevicesActor,
    deps: DepsOf,
    kind: Kind | None = None,
    state: Annotated[State | None, Query(description="quiet: no sign of life for 3 minutes")] = None,
    q: Annotated[str, Query(max_length=64, description="the code's beginning, or a part of the name")] = "",
    before: Annotated[str, Query(max_length=64, description="`next` of the page before")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
) -> dict[str, Any]:
    """Senders of the viewer's units by code; `trust` is the mean of the sensors that one may report for (0..1).

    `skew_s`: by how much its records of 24 hours came behind their own time, the way here included.
    """
    text = q.strip().replace("\0", "")
    asked = {"kind": kind, "state": state, "code": before.replace("\0", ""), "id": None, "limit": limit}
    searched = {"begin": beginning(text) if text else None, "part": part(text) if text else None}
    async with deps.reach.as_viewer(actor.viewer) as connection:
        found = await rows(connection, "devices", {**_times(deps.settings.clock.now()), **asked, **searched})
    return {"devices": found, "next": found[-1]["code"] if len(found) == limit else None}


@router.get("/{id}")
async def get_device(
    id: Annotated[int, Path(ge=1, le=2**31 - 1)],
    actor: DevicesActor,
    deps: DepsOf,
    before: Annotated[int, Query(ge=1, le=HIGHEST, description="`next` of the page before")] = HIGHEST,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """One sender with its doubtful sensors and its newest refused records; their text for who tends them alone."""
    now = deps.settings.clock.now()
    asked = {"kind": None, "state": None, "code": "", "id": id, "limit": 1, "begin": None, "part": None}
    async with deps.reach.as_viewer(actor.viewer) as connection:
        device = await first(connection, "devices", {**_times(now), **asked})
        if device is not None:
            refused = await rows(connection, "device_refused", {"id": id, "before": before, "limit": limit})
            doubtful = {"unit": device["unit_id"], "limit": SENSORS_MAX}
            sensors = await rows(connection, "device_sensors", doubtful)
            await audit(connection, deps, actor, "read_device", device["code"], "ok")
    if device is None:
        raise NotFound("there is no such device, or it is not your unit's")
    tends = may(actor, Action.TEND_QUARANTINE)
    shown = [
        {**row, "body": bytes(row["body"]).decode("utf-8", "replace") if tends else None} for row in refused
    ]  # what was refused may name people and plates
    return {
        "device": device,
        "sensors": sensors,
        "refused": shown,
        "next": refused[-1]["id"] if len(refused) == limit else None,
    }


def _times(now: Any) -> dict[str, Any]:
    return {"since": now - OF_LATE, "quiet_before": now - QUIET}
