"""What the addresses of all doors share: counting, errors to answers, and headers that a sender must heed."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from traffic.clock import monotonic_s
from traffic.errors import ServiceError, TrafficError
from traffic.ingest.bodies import BodyRefused
from traffic.ingest.desk import Outcome, Unauthorized
from traffic.ingest.figures import Figures
from traffic.limits import RETRY_AFTER_S

Handler = Callable[[Request], Awaitable[Response]]
Refuse = Callable[[Request, TrafficError], Response]


class Doorway:
    """The application to which each door adds its addresses."""

    def __init__(self, app: FastAPI, figures: Figures) -> None:
        self._app = app
        self._figures = figures

    def add(
        self,
        path: str,
        methods: list[str],
        door: str,
        handler: Handler,
        refuse: Refuse,
        **described: Any,
    ) -> None:
        """An address whose requests count for `door`; `refuse` shapes the answer of which nothing was taken."""
        self._app.add_api_route(path, self._answered(handler, refuse, door), methods=methods, name=path, **described)

    def _answered(self, handler: Handler, refuse: Refuse, door: str) -> Handler:
        async def answer(request: Request) -> Response:
            began_s = monotonic_s()
            try:
                response = await handler(request)
            except ClientDisconnect:
                response = Response(status_code=400)  # nobody is there to read it; nothing was taken
            except TrafficError as error:
                response = refuse(request, error)
            self._figures.request(door, response.status_code, monotonic_s() - began_s)
            return response

        return answer


def status_of(error: TrafficError) -> int:
    """HTTP status of an error of which nothing was taken."""
    if isinstance(error, BodyRefused | Unauthorized):
        return error.status
    return 503 if isinstance(error, ServiceError) else 500


def headers_of(status: int) -> dict[str, str]:
    """What the sender must know beside the body; what is left of a body that is too long or too slow is not awaited."""
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status in (429, 503) else {}
    return headers | ({"Connection": "close"} if status in (408, 413) else {})


def retry_headers(outcome: Outcome) -> Mapping[str, str]:
    """When to come again with what was not taken."""
    return {"Retry-After": str(RETRY_AFTER_S)} if outcome.status != 200 else {}
