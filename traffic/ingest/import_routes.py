"""The address of file imports: a file streamed in, and its progress told."""

import asyncio
import contextlib
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID, uuid4

import msgspec
import redis.asyncio
from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from traffic.ingest.answers import Doorway
from traffic.ingest.bodies import BodyRefused
from traffic.ingest.desk import Desk, peer_of
from traffic.ingest.files import reader_for
from traffic.ingest.imports import Import, Progress, Report
from traffic.ingest.native_routes import NDJSON_TYPES, SECURITY, content_type, refuse, refused_answers, schema_of
from traffic.ingest.subjects import SUBJECTS
from traffic.limits import IMPORT_BYTES_MAX, RETRY_AFTER_S

IMPORTS_MAX, IMPORTS_OF_ONE_MAX = 8, 2  # at once in one door, and of one sender
IDLE_S = 60.0  # between two parts of a file
DRAIN_S = 5.0
_INFLATED_AT_ONCE = 256 * 1024
_STATUS = {"done": 200, "gave_up": 503, "broken_off": 400}


def add_imports(doorway: Doorway, desk: Desk, client: redis.asyncio.Redis) -> None:
    """Open the door of files."""
    door = _Files(desk, Progress(client))
    doorway.add("/api/import/{kind}", ["POST"], "file", door.take, refuse, **_described())
    doorway.add("/api/import/{id}", ["GET"], "file", door.tell, refuse, **_DESCRIBED_PROGRESS)


class _Files:
    def __init__(self, desk: Desk, progress: Progress) -> None:
        self._desk = desk
        self._progress = progress
        self._under_way: Counter[int] = Counter()  # by sender

    async def take(self, request: Request) -> Response:
        """POST /api/import/{kind}"""
        device = self._desk.native_sender(request)
        subject = SUBJECTS.get(request.path_params["kind"])
        if subject is None:
            raise BodyRefused(404, f"files hold one of {', '.join(SUBJECTS)}")
        media_type = content_type(request)
        if media_type not in ("text/csv", *NDJSON_TYPES):
            raise BodyRefused(415, "send text/csv or application/x-ndjson as Content-Type")
        reader = reader_for(subject, media_type, _charset(request))
        if self._under_way.total() >= IMPORTS_MAX or self._under_way[device.id] >= IMPORTS_OF_ONE_MAX:
            raise BodyRefused(503, "too many imports at once; send again later")
        self._under_way[device.id] += 1
        try:
            one = Import(self._desk, self._progress, subject, device, peer_of(request))
            report = await one.begin(_identity(request.headers.get("import-id")))
            stream = request.stream()
            try:
                await one.run(report, reader, _parts(request, stream))
                status = _STATUS[report.state]
            except BodyRefused as refused:
                status = refused.status
            if status != 200:
                await _drain(stream)
            return _answer(report, status)
        finally:
            self._under_way[device.id] -= 1

    async def tell(self, request: Request) -> Response:
        """GET /api/import/{id}"""
        device = self._desk.native_sender(request)
        report = await self._progress.find(_identity(request.path_params["id"]))
        if report is None or report.device != device.id:
            raise BodyRefused(404, "no import of this sender has this id (progress is kept for a day)")
        return _answer(report, 200)


def _answer(report: Report, status: int) -> Response:
    headers = {"Import-Id": report.id}
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if status != 200:
        headers["Connection"] = "close"  # what is left of the file is not awaited
    return Response(msgspec.json.encode(report), status, headers, "application/json")


def _identity(text: str | None) -> UUID:
    if text is None:
        return uuid4()
    try:
        return UUID(text)
    except ValueError as error:
        raise BodyRefused(400, "an import's id is a UUID") from error


def _charset(request: Request) -> str:
    for part in request.headers.get("content-type", "").split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            return value
    return ""


async def _parts(request: Request, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The file as it comes, unpacked where it is gzip; raises BodyRefused 400, 408, 413 or 415."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", ""):
        raise BodyRefused(415, f"content encoding {encoding[:40]} is not taken; send plain or gzip")
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length[:20]) > IMPORT_BYTES_MAX:
        raise BodyRefused(413, f"a file has at most {IMPORT_BYTES_MAX} bytes")
    packed = _Unpacked() if "gzip" in encoding else None
    while True:
        try:
            async with asyncio.timeout(IDLE_S):
                part = await anext(stream, None)
        except TimeoutError as error:
            raise BodyRefused(408, f"nothing came for {IDLE_S:g} s") from error
        if part is None:
            break
        if packed is None:
            yield part
        else:
            for unpacked in packed.feed(part):
                yield unpacked
    if packed is not None:
        packed.end()


async def _drain(stream: AsyncIterator[bytes]) -> None:
    """Read on for a little while: a sender that is hung up on while it writes does not hear the answer."""
    with contextlib.suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(DRAIN_S):
            async for _ in stream:
                pass


class _Unpacked:
    """gzip members one after the other, never more than _INFLATED_AT_ONCE at a time."""

    def __init__(self) -> None:
        self._unpacker = zlib.decompressobj(wbits=31)
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What a part unpacks to, in pieces; raises BodyRefused 400."""
        while data:
            if self._unpacker.eof:
                self._unpacker = zlib.decompressobj(wbits=31)
            self._begun = True
            try:
                yield self._unpacker.decompress(data, _INFLATED_AT_ONCE)
            except zlib.error as error:
                raise BodyRefused(400, f"the file is not gzip: {error}") from error
            data = self._unpacker.unused_data if self._unpacker.eof else self._unpacker.unconsumed_tail

    def end(self) -> None:
        """Raise BodyRefused 400 where the last member is not whole."""
        if not self._begun or not self._unpacker.eof:
            raise BodyRefused(400, "the gzip file is cut off")


# ---------------------------------------------------------------- description
_REPORT = {"application/json": {"schema": next(iter(msgspec.json.schema(Report)["$defs"].values()))}}
_DESCRIBED_PROGRESS: dict[str, Any] = {
    "summary": "How far an import is, and what was refused",
    "tags": ["files"],
    "response_class": Response,
    "responses": {200: {"description": "the report so far", "content": _REPORT}},
    "openapi_extra": {
        "security": SECURITY,
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}],
    },
}


def _described() -> dict[str, Any]:
    columns = "; ".join(f"{name}: {', '.join(one.record.__struct_fields__)}" for name, one in SUBJECTS.items())
    example = SUBJECTS["detector-reports"].example
    text = f"{','.join(example)}\r\n{','.join(map(str, example.values()))}\r\n"
    answers = {200: "the whole file is judged", 503: "the bus took nothing for too long; `line` says how far it came"}
    return {
        "summary": "Import a file of any size, streamed",
        "description": "CSV (RFC 4180; the first line names the columns; UTF-8, or GB18030 where declared) or NDJSON, "
        f"gzip allowed. Columns: {columns}. Lists are set apart by semicolons. What was accepted stays accepted; a "
        "file sent again makes no doubles.",
        "tags": ["files"],
        "response_class": Response,
        "responses": {status: {"description": said, "content": _REPORT} for status, said in answers.items()}
        | refused_answers(),
        "openapi_extra": {
            "security": SECURITY,
            "parameters": [
                {"name": "kind", "in": "path", "required": True, "schema": {"enum": list(SUBJECTS)}},
                {"name": "Import-Id", "in": "header", "schema": {"type": "string", "format": "uuid"}},
            ],
            "requestBody": {
                "required": True,
                "content": {
                    "text/csv": {"schema": {"type": "string"}, "example": text},
                    "application/x-ndjson": {
                        "schema": {"oneOf": [schema_of(one) for one in SUBJECTS.values()]},
                        "example": msgspec.json.encode(example).decode(),
                    },
                },
            },
        },
    }
