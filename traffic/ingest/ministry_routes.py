"""The address of the ministry's SOAP interface: POST /trans, and its description at GET /trans?wsdl.

Who sends is told by a key, in the address (/trans?key=...: these clients are set up with an address and nothing else)
or as Authorization: Bearer; a device without a key (`keyless`) is known by the address that it comes from. Either way
it may come only from its `peers`, and report only for the checkpoints of its unit.
"""

from fastapi import Request, Response

from traffic.errors import TrafficError
from traffic.ingest import ministry
from traffic.ingest.answers import Doorway, headers_of, status_of
from traffic.ingest.bodies import BodyRefused
from traffic.ingest.catalogue import Device
from traffic.ingest.desk import Desk, Outcome, Unauthorized, peer_of
from traffic.ingest.intake import Budget, read_body
from traffic.ingest.ministry import Answer, Call
from traffic.limits import RETRY_AFTER_S
from traffic.readings import Door
from traffic.secrets import key_hash

PATH = "/trans"
STRANGERS_BYTES_MAX = 64 * 1024  # of a call that is read only to be refused


def add_ministry(doorway: Doorway, desk: Desk, budget: Budget) -> None:
    """Open the door of the ministry's interface."""
    soap = _Soap(desk, budget)
    door = Door.MINISTRY.name.lower()
    doorway.add(
        PATH, ["POST"], door, soap.call, soap.refuse, summary="SOAP: initTrans, writeVehicleInfo", tags=["soap"]
    )
    doorway.add(PATH, ["GET"], door, soap.describe, soap.refuse, include_in_schema=False)


class _Soap:
    def __init__(self, desk: Desk, budget: Budget) -> None:
        self._desk = desk
        self._budget = budget

    async def call(self, request: Request) -> Response:
        """POST /trans"""
        charset = request.headers.get("content-type", "").partition("charset=")[2].strip(" \"'")
        device = self._sender(request)
        bytes_max = STRANGERS_BYTES_MAX if isinstance(device, Unauthorized) else ministry.BODY_BYTES_MAX
        with self._budget.hold() as held:
            call = ministry.read_call(await read_body(request, held, bytes_max=bytes_max), charset=charset)
            if isinstance(device, Unauthorized):
                return _answer(call, Answer.UNKNOWN_SENDER, str(device))
            if call.operation == ministry.INIT:
                return self._init(call, device)
            return await self._write(call, device, peer_of(request))

    async def describe(self, request: Request) -> Response:
        """GET /trans?wsdl"""
        if "wsdl" not in {name.lower() for name in request.query_params}:
            raise BodyRefused(405, "POST a SOAP envelope here, or read the description at ?wsdl")
        key = request.query_params.get("key")
        address = str(request.url.replace(query=f"key={key}" if key else ""))
        return Response(ministry.wsdl(address), media_type="text/xml; charset=utf-8")

    def refuse(self, request: Request, error: TrafficError) -> Response:
        """The answer to what is no call."""
        status = status_of(error)
        soap = ministry.SOAP_12 if "soap+xml" in request.headers.get("content-type", "") else ministry.SOAP_11
        content = ministry.fault_body(soap, str(error), theirs=status < 500)
        headers = headers_of(status) | ({"Allow": "POST"} if status == 405 else {})
        return Response(content, status, headers, ministry.content_type(soap))

    def _init(self, call: Call, device: Device) -> Response:
        code, catalogue = ministry.checkpoint_of(call.arguments, device), self._desk.catalogue
        if code in catalogue.rows_for(device):
            return _answer(call, Answer.OK, "")
        if code in catalogue.row_of_gate:
            return _answer(call, Answer.NOT_YOURS, "the checkpoint belongs to no unit of this sender's")
        return _answer(call, Answer.UNKNOWN_CHECKPOINT, f"no checkpoint has the code {code[:40]}")

    async def _write(self, call: Call, device: Device, peer: str) -> Response:
        received_us = self._desk.clock.now_us()
        bench = self._desk.bench(Door.MINISTRY)
        checked = ministry.check(call.arguments, device=device, bench=bench, received_us=received_us)
        outcome = await self._desk.keep(checked, device, Door.MINISTRY, received_us, peer)
        return _of_outcome(call, outcome)

    def _sender(self, request: Request) -> Device | Unauthorized:
        """Who sends, or why it is nobody."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        key = token.strip() if scheme.lower() == "bearer" else request.query_params.get("key", "")
        peer, hashed = peer_of(request), key_hash(key)
        for device in self._desk.catalogue.devices.values():
            if device.kind != "ministry":
                continue
            if (key and device.secret == hashed) or (not key and device.link.keyless and device.link.is_known(peer)):
                if not device.enabled or not device.link.may_come_from(peer):
                    return Unauthorized("this sender is shut out, or may not come from this address")
                return device
        return Unauthorized("neither key nor address is a sender's")


def _of_outcome(call: Call, outcome: Outcome) -> Response:
    if outcome.error is not None:
        return _answer(call, Answer.BUSY, str(outcome.error))
    if outcome.refusals:
        refusal = outcome.refusals[0]
        return _answer(call, ministry.answer_of(refusal), f"{refusal.field}: {refusal.reason} ({refusal.detail})")
    return _answer(call, Answer.OK, "")


def _answer(call: Call, code: Answer, text: str) -> Response:
    """Always 200: these clients look at the number, and take any other status for a broken network."""
    headers = {"Retry-After": str(RETRY_AFTER_S)} if code == Answer.BUSY else {}
    return Response(ministry.answer_body(call, code, text), 200, headers, ministry.content_type(call.soap))
