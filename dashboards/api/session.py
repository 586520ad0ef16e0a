"""Log in, log out, who am I, and tickets for the live view."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, StringConstraints

from dashboards.auth import CurrentActor, DepsOf, NotLoggedIn, SameSite, drop_cookie, session_token, set_cookie
from dashboards.origins import socket_url
from dispatch import people
from dispatch.access import Action, Actor, may
from traffic.errors import TrafficError

router = APIRouter(prefix="/api", tags=["session"])

# No control characters: the database takes no NUL, and nobody's login has a line break.
Login = Annotated[
    str, StringConstraints(min_length=1, max_length=people.LOGIN_CHARS_MAX, pattern=r"^[^\x00-\x1f\x7f]+$")
]
Password = Annotated[str, StringConstraints(min_length=1, max_length=people.PASSWORD_CHARS_MAX)]


class Credentials(BaseModel):
    """What a person types."""

    login: Login
    password: Password


class UnitName(BaseModel):
    """A unit as screens show it."""

    id: int
    name: str
    name_en: str
    level: int


class Person(BaseModel):
    """Who is logged in."""

    login: str
    name: str
    unit: UnitName
    role: str
    clearance: int
    may: list[str]  # what the role carries (dispatch.access.Action), so that screens offer nothing else


class Me(BaseModel):
    """The person of this session."""

    me: Person


class Ticket(BaseModel):
    """A single-use ticket, and where the live view is."""

    ticket: str
    url: str


async def person_of(deps: DepsOf, actor: Actor) -> Person:
    """The person with the unit's names."""
    async with deps.reach.open() as connection:
        number, name, name_en, level = await people.find_unit(connection, actor.unit)
    return Person(
        login=actor.login,
        name=actor.name,
        unit=UnitName(id=number, name=name, name_en=name_en, level=level),
        role=str(actor.role),
        clearance=actor.clearance,
        may=[str(action) for action in Action if may(actor, action)],
    )


@router.post("/login", dependencies=[SameSite])
async def log_in(credentials: Credentials, request: Request, response: Response, deps: DepsOf) -> Me:
    """Open a session; its cookie comes with the answer. After 5 failures a login rests for a minute."""
    peer = request.client.host if request.client else "local"
    try:
        session, actor = await people.log_in(
            deps.reach.open,
            deps.passwords,
            credentials.login,
            credentials.password,
            peer=peer,
            now=deps.settings.clock.now(),
        )
    except TrafficError as error:
        deps.metrics.login(type(error).__name__)
        raise
    deps.metrics.login("ok")
    set_cookie(request, response, session.token)
    return Me(me=await person_of(deps, actor))


@router.post("/logout", dependencies=[SameSite])
async def log_out(request: Request, response: Response, actor: CurrentActor, deps: DepsOf) -> dict[str, bool]:
    """End the session and its sockets."""
    token = session_token(request) or ""
    async with deps.reach.open() as connection:
        await people.log_out(connection, actor, token, now=deps.settings.clock.now())
    deps.live.close_session(people.token_hash(token))
    drop_cookie(request, response)
    return {"ok": True}


@router.get("/me")
async def me(actor: CurrentActor, deps: DepsOf) -> Me:
    """The person of this session."""
    return Me(me=await person_of(deps, actor))


@router.post("/socket-ticket", dependencies=[SameSite])
async def socket_ticket(request: Request, actor: CurrentActor, deps: DepsOf) -> Ticket:
    """A ticket for one socket, good for 30 s."""
    token = session_token(request)
    if token is None:
        raise NotLoggedIn("log in first")
    async with deps.reach.open() as connection:
        ticket = await people.open_ticket(connection, token)
    url = socket_url(request.headers.get("origin"), request.headers.get("host", ""), deps.settings)
    return Ticket(ticket=ticket, url=url)
