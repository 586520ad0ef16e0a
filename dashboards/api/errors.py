"""One table from what went wrong to what is answered: {"error": {"code", "message", "field"?}}."""

import psycopg
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from dashboards.auth import NotLoggedIn, OriginRefused
from dispatch.access import Forbidden
from dispatch.people import Locked, LoginsBusy, WrongLogin
from traffic.errors import BusClosed, BusFull, Reason, ServiceError, TrafficError
from traffic.limits import RETRY_AFTER_S
from traffic.rule_desk import NoSuchRule, Stale
from traffic.vehicles.said import FieldRefused

log = structlog.get_logger(__name__)


class NotFound(TrafficError):
    """There is no such thing, or it is not for this person: both are answered alike."""


class Conflict(TrafficError):
    """It was done already, or cannot be done any more."""


class Wrong(TrafficError):
    """A parameter is wrong; `field` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class RecordRefused(TrafficError):
    """A corrected record is still not good."""

    def __init__(self, field: str, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.field = field
        self.reason = reason


class BodyTooLarge(TrafficError):
    """The request's body is over its bound."""


_TABLE: dict[type[TrafficError], tuple[int, str]] = {
    WrongLogin: (401, "wrong_login"),
    NotLoggedIn: (401, "not_logged_in"),
    OriginRefused: (403, "wrong_origin"),
    Forbidden: (403, "forbidden"),
    NotFound: (404, "not_found"),
    NoSuchRule: (404, "not_found"),
    Conflict: (409, "conflict"),
    Stale: (409, "conflict"),
    BodyTooLarge: (413, "too_large"),
    Wrong: (422, "wrong_value"),
    FieldRefused: (422, "wrong_value"),
    RecordRefused: (422, "record_refused"),
    Locked: (429, "locked"),
    BusFull: (429, "bus_full"),
    LoginsBusy: (503, "busy"),
    BusClosed: (503, "bus_closed"),
    ServiceError: (503, "unavailable"),
}
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported"}
_HTTP_SENTENCES = {404: "there is nothing at this address", 405: "this address does not take that method"}


def answer(
    status: int,
    code: str,
    message: str,
    *,
    field: str | None = None,
    reason: str | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """The one shape of an error."""  # fmt: skip
    error: dict[str, str] = {"code": code, "message": message}
    if field is not None:
        error["field"] = field
    if reason is not None:
        error["reason"] = reason
    return JSONResponse({"error": error}, status, headers)


def of_error(error: TrafficError) -> JSONResponse:
    """The answer to an error of our own."""
    status, code = next((found for kind, found in _TABLE.items() if isinstance(error, kind)), (500, "failed"))
    headers = {}
    if isinstance(error, Locked):
        headers["Retry-After"] = str(error.retry_after_s)
    elif status in (429, 503):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    reason = str(error.reason) if isinstance(error, RecordRefused) else None
    return answer(status, code, str(error), field=getattr(error, "field", None), reason=reason, headers=headers)


def install(app: FastAPI) -> None:
    """Make every failure of the application answer in the one shape."""

    @app.exception_handler(TrafficError)
    async def own(_request: Request, error: TrafficError) -> JSONResponse:
        return of_error(error)

    @app.exception_handler(HTTPException)
    async def http(_request: Request, error: HTTPException) -> JSONResponse:
        code = _HTTP_CODES.get(error.status_code, "refused")
        sentence = _HTTP_SENTENCES.get(error.status_code, str(error.detail))
        return answer(error.status_code, code, sentence, headers=dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        fault = error.errors()[0]
        place = [str(part) for part in fault["loc"] if part not in ("body", "query", "path")]
        return answer(422, "wrong_value", f"{fault['msg']}", field=".".join(place))

    async def no_database(_request: Request, error: Exception) -> JSONResponse:
        log.warning("the database did not answer", why=str(error) or type(error).__name__)
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        return answer(503, "database_unavailable", "the database cannot be reached: try again soon", headers=headers)

    for kind in (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError):
        app.add_exception_handler(kind, no_database)

    @app.exception_handler(psycopg.DataError)
    async def no_such_value(_request: Request, error: psycopg.DataError) -> JSONResponse:
        log.warning("a value that the database cannot hold", why=str(error).splitlines()[0][:200])
        return answer(422, "wrong_value", "a value is one that cannot be stored or looked for (NUL, or out of range)")

    @app.exception_handler(Exception)
    async def unexpected(_request: Request, _error: Exception) -> JSONResponse:
        return answer(500, "failed", "something went wrong here; it was noted")
