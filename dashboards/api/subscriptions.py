"""GA/T 1400 subscriptions: those that others have here, and ours at other platforms."""

import secrets
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path
from psycopg.rows import dict_row
from pydantic import BaseModel, Field

from dashboards.api.errors import Conflict, NotFound, Wrong
from dashboards.api.platforms import SQL, STORABLE
from dashboards.api.units import load_tree
from dashboards.auth import DepsOf, DevicesActor, SameSite, SubscribingActor
from dashboards.deps import Deps
from dispatch import people
from dispatch.access import Actor
from traffic.ingest.links import is_web_address, read_link
from traffic.ingest.viid_subscriptions import local_time

router = APIRouter(prefix="/api/subscriptions", tags=["subscriptions"])
Id = Annotated[str, Path(pattern=r"^[0-9A-Za-z_-]{1,64}$")]
Days = Annotated[int, Field(ge=1, le=5 * 366)]


class NewSubscription(BaseModel):
    """What we want of another platform. `resource`: its tollgates, comma separated, or beginnings of their codes."""

    device: str = Field(
        min_length=1, max_length=64, pattern=STORABLE, description="code of the platform's row among the senders"
    )
    title: str = Field(min_length=1, max_length=200, pattern=STORABLE)
    resource: str = Field(min_length=1, max_length=4000, pattern=STORABLE)
    days: Days = 365
    interval_s: int = Field(default=0, ge=0, le=3600)
    receive_addr: str = Field(default="", max_length=256, description="where it reaches our door; none: as set up here")


class Renewal(BaseModel):
    """How long it lasts from now."""

    days: Days


@router.get("")
async def list_subscriptions(actor: DevicesActor, deps: DepsOf) -> dict[str, Any]:
    """Both directions, newest change first. `in`: `told` false means that the other side does not know yet.

    `out`: `waiting` records not yet taken since `waiting_since`, `sent` and `lost` in all: the oldest are given up
    where more than a million or what is older than a day waits, and what a receiver refuses for good.
    """
    return {"subscriptions": await _rows(deps, actor, None)}


@router.post("", dependencies=[SameSite], status_code=202)
async def subscribe(wish: NewSubscription, actor: SubscribingActor, deps: DepsOf) -> dict[str, Any]:
    """Subscribe at another platform; the forwarder tells it, and says in the list what came of it."""
    now = deps.settings.clock.now()
    receive_addr = wish.receive_addr or (
        f"http://{deps.settings.host}:{deps.settings.door_port}/VIID/SubscribeNotifications"
    )
    if not is_web_address(receive_addr):
        raise Wrong("receive_addr", "must be an address of HTTP")
    number = f"{deps.settings.viid_server_id[:12]}03{local_time(now)}{secrets.randbelow(100_000):05d}"
    tree = await load_tree(deps)
    async with deps.reach.as_viewer(actor.viewer) as connection:
        below = sorted(tree.subtree(actor.unit))
        found = await (await connection.execute(SQL["partner"], {"code": wish.device, "below": below})).fetchone()
        if found is None:
            raise Wrong("device", "there is no such platform of your units")
        if not read_link(found[2]).address:
            raise Wrong("device", "the platform has no address of its own: its link says none")
        values = {
            "id": number, "device": found[0], "title": wish.title, "resource": wish.resource, "now": now,
            "receive_addr": receive_addr, "interval_s": wish.interval_s, "ends_at": now + timedelta(days=wish.days),
        }  # fmt: skip
        await connection.execute(SQL["subscribe"], values)
        await connection.execute(SQL["tell_workers"])
        deed = people.deed_of(actor, "subscribe", f"{number} at {wish.device}: {wish.resource}", "ok")
        await people.record(connection, deed, now)
    return (await _rows(deps, actor, number))[0]


@router.post("/{id}/renew", dependencies=[SameSite], status_code=202)
async def renew(id: Id, wish: Renewal, actor: SubscribingActor, deps: DepsOf) -> dict[str, Any]:
    """Let one of ours last longer, also one that has ended."""
    ends_at = deps.settings.clock.now() + timedelta(days=wish.days)
    return await _change(deps, actor, id, "renew", {"ends_at": ends_at})


@router.delete("/{id}", dependencies=[SameSite], status_code=202)
async def end(id: Id, actor: SubscribingActor, deps: DepsOf) -> dict[str, Any]:
    """End one, whichever side began it. Of another's, what waits is dropped."""
    return await _change(deps, actor, id, "end", {})


async def _change(deps: Deps, actor: Actor, id: str, what: str, values: dict[str, Any]) -> dict[str, Any]:
    if not await _rows(deps, actor, id):
        raise NotFound("there is no such subscription, or it is not of your units")
    now = deps.settings.clock.now()
    async with deps.reach.as_viewer(actor.viewer) as connection:
        changed = (await connection.execute(SQL[what], {"id": id, "now": now, **values})).rowcount
        if not changed:
            raise Conflict("it has ended already" if what == "end" else "only one of ours can be renewed")
        await connection.execute(SQL["tell_workers"])
        await people.record(connection, people.deed_of(actor, f"subscription_{what}", id, "ok"), now)
    return (await _rows(deps, actor, id))[0]


async def _rows(deps: Deps, actor: Actor, id: str | None) -> list[dict[str, Any]]:
    tree = await load_tree(deps)
    async with (
        deps.reach.as_viewer(actor.viewer) as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        await cursor.execute(SQL["subscriptions"], {"below": sorted(tree.subtree(actor.unit)), "id": id})
        return await cursor.fetchall()
