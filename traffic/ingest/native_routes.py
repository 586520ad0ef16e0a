"""The native doors' addresses, one for each kind of record: parse, call the desk, shape the answer."""

from typing import Any

import msgspec
from fastapi import Request, Response

from traffic.errors import Reason, TrafficError
from traffic.ingest.answers import Doorway, Handler, headers_of, retry_headers, status_of
from traffic.ingest.desk import Desk, Outcome, peer_of
from traffic.ingest.intake import Budget, read_body
from traffic.ingest.subjects import SUBJECTS, Subject

NDJSON_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")
SECURITY: list[dict[str, list[str]]] = [{"sender": []}]
_CODES = {
    400: "malformed", 401: "unknown_sender", 403: "shut_out", 404: "unknown", 408: "too_slow", 409: "conflict",
    413: "too_large", 415: "unsupported",
}  # fmt: skip


def add_native(doorway: Doorway, desk: Desk, budget: Budget) -> None:
    """Open one door for each kind of record."""
    for subject in SUBJECTS.values():
        door = subject.door.name.lower()
        handler = _taking(subject, desk, budget)
        doorway.add(f"/api/{subject.name}", ["POST"], door, handler, refuse, **_described(subject))


def _taking(subject: Subject, desk: Desk, budget: Budget) -> Handler:
    async def take(request: Request) -> Response:
        device = desk.native_sender(request)
        lines = content_type(request) in NDJSON_TYPES
        with budget.hold() as held:
            body = await read_body(request, held)
            outcome = await desk.take(subject, body, device, peer_of(request), lines=lines)
        return Response(_answer(outcome), outcome.status, retry_headers(outcome), "application/json")

    return take


def _answer(outcome: Outcome) -> bytes:
    """`not_taken` and `error` stand only where something must be sent again."""
    body: dict[str, object] = {
        "accepted": outcome.accepted,
        "rejected": [
            {"index": refusal.index, "field": refusal.field, "reason": refusal.reason, "detail": refusal.detail}
            for refusal in outcome.refusals
        ],
    }
    if outcome.not_taken:
        body["not_taken"] = list(outcome.not_taken)
    if outcome.error:
        body["error"] = {"code": "not_all_taken", "message": str(outcome.error)}
    return msgspec.json.encode(body)


def content_type(request: Request) -> str:
    """The media type of a body, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def refuse(request: Request, error: TrafficError) -> Response:
    """The answer to a request of which nothing was taken."""
    status = status_of(error)
    headers = headers_of(status)
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="traffic"'
    content = msgspec.json.encode({"error": {"code": _CODES.get(status, "unavailable"), "message": str(error)}})
    return Response(content, status, headers, "application/json")


# ---------------------------------------------------------------- description
def schema_of(subject: Subject) -> dict[str, Any]:
    """JSON schema of one record."""
    whole = msgspec.json.schema(subject.record)
    found: dict[str, Any] = whole["$defs"][subject.record.__name__]
    return found


ANSWER = {
    "type": "object",
    "required": ["accepted", "rejected"],
    "properties": {
        "accepted": {"type": "integer", "description": "records that are durable"},
        "rejected": {
            "type": "array",
            "description": "records that are refused for good",
            "items": {
                "type": "object",
                "properties": {
                    "index": {"type": "integer", "description": "place in the request, from 0"},
                    "field": {"type": "string"},
                    "reason": {"enum": [reason.value for reason in Reason]},
                    "detail": {"type": "string"},
                },
            },
        },
        "not_taken": {"type": "array", "items": {"type": "integer"}, "description": "records to be sent again"},
        "error": {
            "type": "object",
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
        },
    },
}
_REFUSED = {"application/json": {"schema": {"type": "object", "properties": {"error": ANSWER["properties"]["error"]}}}}  # type: ignore[index]
_STATUSES = {
    400: "the body is no list of records, or no gzip",
    401: "the key belongs to no sender",
    403: "this sender is shut out",
    408: "the body did not arrive in time",
    413: "the body is too large, or holds too many records",
    415: "an encoding that is not taken",
}


def refused_answers() -> dict[int | str, dict[str, Any]]:
    """The answers of which nothing was taken."""
    return {status: {"description": text, "content": _REFUSED} for status, text in _STATUSES.items()}


def _described(subject: Subject) -> dict[str, Any]:
    schema = schema_of(subject)
    line = msgspec.json.encode(subject.example).decode()
    answer = {"application/json": {"schema": ANSWER, "example": {"accepted": 1, "rejected": []}}}
    return {
        "summary": subject.title,
        "description": "Records as a JSON array or one a line (NDJSON), gzip allowed. What is accepted is on disk.",
        "tags": ["records"],
        "response_class": Response,
        "responses": {
            200: {"description": "all is judged, and durable where accepted", "content": answer},
            429: {"description": "the bus is full: send again what was not taken", "content": answer},
            503: {"description": "the bus is closed or down: send again what was not taken", "content": answer},
            **refused_answers(),
        },
        "openapi_extra": {
            "security": SECURITY,
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {"schema": {"type": "array", "items": schema}, "example": [subject.example]},
                    "application/x-ndjson": {"schema": schema, "example": line},
                },
            },
        },
    }
