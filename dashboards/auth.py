"""Who asks: session cookies, and what a request's handlers work with."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request, Response

from dashboards.deps import Deps
from dashboards.origins import origin_allowed
from dispatch import people
from dispatch.access import Action, Actor, require
from traffic.errors import TrafficError
from traffic.limits import SESSION_S

COOKIE = "session"
TOKEN_CHARS_MAX = 128


class NotLoggedIn(TrafficError):
    """No good session came with the request."""


class OriginRefused(TrafficError):
    """The page that asks is not one of ours."""


def same_site(request: Request) -> None:
    """Raise OriginRefused when another site's page asks (for all requests that change something)."""
    deps: Deps = request.app.state.deps
    if not origin_allowed(request.headers.get("origin"), request.headers.get("host", ""), deps.settings):
        raise OriginRefused("this page may not do that: it was not loaded from this system")


# ---------------------------------------------------------------- sessions
def set_cookie(request: Request, response: Response, token: str) -> None:
    """Give the browser its session."""
    response.set_cookie(
        COOKIE, token, max_age=SESSION_S, path="/", httponly=True, samesite="strict", secure=_behind_tls(request)
    )


def drop_cookie(request: Request, response: Response) -> None:
    """Take the session from the browser."""
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict", secure=_behind_tls(request))


def _behind_tls(request: Request) -> bool:
    origin = request.headers.get("origin", "")
    deps: Deps = request.app.state.deps
    return request.url.scheme == "https" or (origin.startswith("https://") and origin in deps.settings.public_origins)


def session_token(request: Request) -> str | None:
    """The token that the browser sent."""
    token = request.cookies.get(COOKIE, "")
    return token if 0 < len(token) <= TOKEN_CHARS_MAX else None


async def current_actor(request: Request) -> Actor:
    """The person who asks; raises NotLoggedIn."""
    token = session_token(request)
    deps: Deps = request.app.state.deps
    if token is not None:
        async with deps.reach.open() as connection:
            actor = await people.find_actor(connection, token)
        if actor is not None:
            return actor
    raise NotLoggedIn("log in first")


def _allowed(action: Action) -> Callable[[Actor], Awaitable[Actor]]:
    """Lets through who may do it; raises Forbidden."""

    async def allowed(actor: Annotated[Actor, Depends(current_actor)]) -> Actor:
        require(actor, action)
        return actor

    return allowed


CurrentActor = Annotated[Actor, Depends(current_actor)]
QuarantineActor = Annotated[Actor, Depends(_allowed(Action.TEND_QUARANTINE))]
FindingsActor = Annotated[Actor, Depends(_allowed(Action.READ_FINDINGS))]
DevicesActor = Annotated[Actor, Depends(_allowed(Action.READ_DEVICES))]
VerifyActor = Annotated[Actor, Depends(_allowed(Action.VERIFY_ALERT))]
ShelveActor = Annotated[Actor, Depends(_allowed(Action.SHELVE_ALERT))]
RulesReader = Annotated[Actor, Depends(_allowed(Action.READ_RULES))]
RulesEditor = Annotated[Actor, Depends(_allowed(Action.EDIT_RULES))]
RegistryReader = Annotated[Actor, Depends(_allowed(Action.READ_REGISTRY))]
RegistryImporter = Annotated[Actor, Depends(_allowed(Action.IMPORT_REGISTRY))]
LookUpActor = Annotated[Actor, Depends(_allowed(Action.LOOK_UP))]
TerminalSpeaker = Annotated[Actor, Depends(_allowed(Action.SPEAK_TO_TERMINAL))]
SubscribingActor = Annotated[Actor, Depends(_allowed(Action.SUBSCRIBE))]
SameSite = Depends(same_site)


def deps_of(request: Request) -> Deps:
    """What the request's handlers work with."""
    deps: Deps = request.app.state.deps
    return deps


DepsOf = Annotated[Deps, Depends(deps_of)]
