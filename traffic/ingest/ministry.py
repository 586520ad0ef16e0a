"""The ministry's SOAP interface for checkpoints (集成指挥平台 Trans): calls, answers, and the WSDL. Pure.

A call is read as a stream with bounds on depth, elements and text; a document type or an entity ends it at once, so
that nothing outside is read and nothing grows. Arguments are told apart by name, or by position where a client's
stack renames them (arg0, in0).

A record's answer is one number: 1 is on disk, anything below is not (`Answer`). What the number means in words stands
in the answer's SOAP header, where clients that know only the number do not stumble over it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from traffic.errors import Reason
from traffic.ingest.bodies import BodyRefused, Records, Refusal
from traffic.ingest.catalogue import Device
from traffic.ingest.checks import Checked
from traffic.ingest.local_time import parse_local
from traffic.ingest.validate import CODE_MAX, NOT_A_NUMBER, NOT_IN_RANGE, Bench, Columns, validate
from traffic.readings import PassageBatch

NAMESPACE = "http://webservice.tfc.tmri.com/"
SOAP_11, SOAP_12 = "http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope"
INIT, WRITE = "initTrans", "writeVehicleInfo"
ARGUMENTS: dict[str, tuple[str, ...]] = {
    INIT: ("kkbh", "fxlx", "cdh", "info"),
    WRITE: (
        "kkbh", "fxlx", "cdh", "hphm", "hpzl", "gcsj", "clsd", "clxs", "wfdm", "cwkc", "hpys", "cllx", "fzhpzl",
        "fzhphm", "fzhpys", "clpp", "clwx", "csys", "tplj", "tp1", "tp2", "tp3", "tztp", "cid", "tid", "zkrs",
    ),
}  # fmt: skip
BODY_BYTES_MAX = 1024 * 1024
DEPTH_MAX, ELEMENTS_MAX = 12, 200
ARGUMENT_CHARS_MAX = 2_000
_LENGTH_CM_MAX = 3000
_GBK = re.compile(rb"<\?xml[^>]{0,100}encoding=[\"'](?:gbk|gb2312|gb18030)[\"']", re.IGNORECASE)
_RENAMED = re.compile(r"(?:arg|in)(\d{1,2})")
# Colours of plates as this interface writes them (0 white, 1 yellow, 2 blue, 3 black, from 4 green) -> JT/T 697.7.
_PLATE_COLOR = {"0": 4, "1": 2, "2": 1, "3": 3, "4": 5, "5": 5, "6": 5}
# Colours of bodies by GA 24.8 (A white, B grey, C yellow ...) -> ColorType of GA/T 1400.3.
_BODY_COLOR = {"A": 2, "B": 3, "C": 6, "D": 12, "E": 4, "F": 10, "G": 9, "H": 5, "I": 8, "J": 1, "K": 7, "L": 11}
_OTHER_COLOR = 99
_NAMES = {
    "checkpoint": "kkbh", "observed_at": "gcsj", "plate": "hphm", "plate_class": "hpzl", "direction": "fxlx",
    "lane": "cdh", "plate_color": "hpys", "vehicle_class": "cllx", "body_color": "csys", "speed_kmh": "clsd",
    "length_m": "cwkc", "images": "tplj",
}  # fmt: skip


class Answer(IntEnum):
    """What a call is answered. Those above BUSY are judged for good, BUSY is to be sent again."""

    OK = 1
    WRONG = -1  # an argument is missing or wrong
    UNKNOWN_CHECKPOINT = -2
    NOT_YOURS = -3
    WRONG_TIME = -4
    WRONG_PLATE = -5
    UNKNOWN_SENDER = -8
    BUSY = -9


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call. `name` as the client wrote it, in its `namespace`; `soap`: the envelope's namespace."""

    operation: str
    name: str
    namespace: str
    soap: str
    arguments: Mapping[str, str]


@dataclass(slots=True)
class _Envelope:
    """What the parser has met so far."""

    soap: str = ""
    depth: int = 0
    elements: int = 0
    in_body: bool = False
    operation: tuple[str, str] | None = None  # namespace, name
    arguments: list[tuple[str, list[str]]] = field(default_factory=list)
    _room: int = 0

    def start(self, name: str, _attributes: Mapping[str, str]) -> None:
        self.depth += 1
        self.elements += 1
        if self.depth > DEPTH_MAX or self.elements > ELEMENTS_MAX:
            raise BodyRefused(400, f"more than {ELEMENTS_MAX} elements, or more than {DEPTH_MAX} inside each other")
        namespace, _, local = name.rpartition(" ")
        if self.depth == 1:
            if local != "Envelope" or namespace not in (SOAP_11, SOAP_12):
                raise BodyRefused(400, "the body is no SOAP envelope")
            self.soap = namespace
        elif self.depth == 2:
            self.in_body = local == "Body" and namespace == self.soap
        elif self.depth == 3 and self.in_body:
            if self.operation is not None:
                raise BodyRefused(400, "one envelope holds one call")
            self.operation = (namespace, local)
        elif self.depth == 4 and self.in_body:
            self.arguments.append((local, []))
            self._room = ARGUMENT_CHARS_MAX

    def end(self, _name: str) -> None:
        self.depth -= 1

    def text(self, data: str) -> None:
        if self.depth == 4 and self.in_body and self._room > 0:
            self.arguments[-1][1].append(data[: self._room])
            self._room -= len(data)


def _forbidden(*_told: object) -> int:
    raise BodyRefused(400, "document types and entities are not taken")


def read_call(body: bytes, *, charset: str = "") -> Call:
    """The call in a request's body; raises BodyRefused 400. `charset`: of the Content-Type, where it tells one."""
    found = _Envelope()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = found.start, found.end
    parser.CharacterDataHandler = found.text
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = parser.ExternalEntityRefHandler = _forbidden
    try:
        parser.Parse(_decoded(body, charset), True)
    except (expat.ExpatError, UnicodeError, ValueError) as error:
        raise BodyRefused(400, f"the body is not XML: {error}") from error
    if found.operation is None:
        raise BodyRefused(400, "the envelope holds no call")
    namespace, name = found.operation
    operation = _operation_of(name)
    arguments = [(told, "".join(parts).strip()) for told, parts in found.arguments]
    return Call(
        operation=operation, name=name.removesuffix("Request"), namespace=namespace or NAMESPACE, soap=found.soap,
        arguments=_named(ARGUMENTS[operation], arguments),
    )  # fmt: skip


def _decoded(body: bytes, charset: str) -> bytes | str:
    if charset.lower() in ("gbk", "gb2312", "gb18030") or _GBK.match(body[:200].lstrip()):
        return body.decode("gb18030")
    return body


def _operation_of(name: str) -> str:
    """Clients write writeVehicleInfo, WriteVehicleInfo and WriteVehicleInfoRequest."""
    plain = name.removesuffix("Request").lower()
    for operation in ARGUMENTS:
        if plain == operation.lower():
            return operation
    raise BodyRefused(400, f"there is no operation {name[:40]}")


def _named(names: tuple[str, ...], told: list[tuple[str, str]]) -> dict[str, str]:
    """Arguments by name where a client keeps the names, else by their place."""
    lower = {name.lower(): text for name, text in told}
    if any(name in lower for name in names):
        return {name: lower.get(name, "") for name in names}
    arguments = dict.fromkeys(names, "")
    for place, (name, text) in enumerate(told):
        renamed = _RENAMED.fullmatch(name.lower())
        at = int(renamed[1]) if renamed else place
        if at < len(names):
            arguments[names[at]] = text
    return arguments


# ---------------------------------------------------------------- the record
def checkpoint_of(arguments: Mapping[str, str], device: Device) -> str:
    """Our code of the checkpoint that a call names."""
    told = arguments["kkbh"]
    return device.link.codes.get(told, told)


def check(arguments: Mapping[str, str], *, device: Device, bench: Bench, received_us: int) -> Checked[PassageBatch]:
    """Judge one writeVehicleInfo; times without zone are the device's local time."""
    plate_color = _PLATE_COLOR.get(arguments["hpys"], 9) if arguments["hpys"] else 0
    columns = Columns(
        names=_NAMES,
        ids=[""],
        gates=[checkpoint_of(arguments, device)],
        observed_us=parse_local([arguments["gcsj"]], ZoneInfo(device.time_zone)),
        plates=[arguments["hphm"]],
        codes={
            "plate_class": _column(_code(arguments["hpzl"])),
            "direction": _column(_direction(arguments["fxlx"], device)),
            "lane": _column(_code(arguments["cdh"])),
            "plate_color": _column(plate_color),
            "vehicle_class": _column(_vehicle_class(arguments["cllx"])),
            "body_color": _column(
                _BODY_COLOR.get(arguments["csys"].upper()[:1], _OTHER_COLOR if arguments["csys"] else 0)
            ),
        },
        speed_kmh=np.array([_speed(arguments["clsd"])]),
        length_m=np.array([_length_m(arguments["cwkc"])]),
        images=_images(arguments),
    )
    read = Records(
        records=[arguments], index=[0], refusals=[], count=1,
        raw_at=lambda _place: msgspec.json.encode({name: text for name, text in arguments.items() if text}),
    )  # fmt: skip
    return validate(columns, read, device=device, bench=bench, received_us=received_us)


def answer_of(refusal: Refusal) -> Answer:
    """The number for a record that is refused for good."""
    if refusal.field == "hphm":
        return Answer.WRONG_PLATE
    return {
        Reason.UNKNOWN_CHECKPOINT: Answer.UNKNOWN_CHECKPOINT,
        Reason.NOT_THIS_DEVICE: Answer.NOT_YOURS,
        Reason.TIME_UNREADABLE: Answer.WRONG_TIME,
        Reason.TIME_IN_FUTURE: Answer.WRONG_TIME,
        Reason.TIME_TOO_OLD: Answer.WRONG_TIME,
    }.get(refusal.reason, Answer.WRONG)


def _column(code: int) -> np.ndarray:
    return np.array([code], np.int64)


def _code(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()):
        return NOT_A_NUMBER
    return int(text) if len(text) < 6 and int(text) <= CODE_MAX else NOT_IN_RANGE


def _direction(text: str, device: Device) -> int:
    """Direction codes are each site's own: as its device says; else 1 is with the stakes, 2 against them."""
    known = device.link.directions.get(text)
    if known is not None:
        return known
    return {"1": 1, "2": 2}.get(text.lstrip("0"), 0)


def _vehicle_class(text: str) -> int:
    match = re.fullmatch(r"([A-Z])(\d{1,2})", text.upper(), re.ASCII)
    return (ord(match[1]) - 64) * 100 + int(match[2]) if match else 0


def _speed(text: str) -> float:
    """km/h; nothing, and the -1 that cameras write for it, is not measured."""
    if not text or text.startswith("-"):
        return np.nan
    try:
        return float(text)
    except ValueError:
        return -np.inf


def _length_m(text: str) -> float:
    """Metres of a length in cm; nothing, 0 and what no vehicle has is not measured."""
    length_cm = _speed(text)
    return length_cm / 100 if np.isinf(length_cm) or 0 < length_cm <= _LENGTH_CM_MAX else np.nan


def _images(arguments: Mapping[str, str]) -> dict[int, tuple[str, ...]]:
    """Addresses of pictures: the common beginning (tplj) joined with each one's rest."""
    base = arguments["tplj"]
    addresses = [
        name if "://" in name else base + name
        for name in (arguments["tp1"], arguments["tp2"], arguments["tp3"])
        if name
    ]
    return {0: tuple(dict.fromkeys(addresses))} if addresses else {}


# ---------------------------------------------------------------- answers
def content_type(soap: str) -> str:
    """Media type of an answer in this envelope."""
    return "application/soap+xml; charset=utf-8" if soap == SOAP_12 else "text/xml; charset=utf-8"


def answer_body(call: Call, code: Answer, text: str) -> bytes:
    """The answer to a call."""
    header = f"<e:Header><t:info xmlns:t={quoteattr(NAMESPACE)}>{_said(text)}</t:info></e:Header>" if text else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<e:Envelope xmlns:e="{call.soap}">{header}<e:Body>'
        f"<n:{call.name}Response xmlns:n={quoteattr(call.namespace)}><return>{int(code)}</return>"
        f"</n:{call.name}Response></e:Body></e:Envelope>"
    ).encode()


def fault_body(soap: str, text: str, *, theirs: bool) -> bytes:
    """A fault; `theirs`: the sender's, else ours."""
    if soap == SOAP_12:
        code = "Sender" if theirs else "Receiver"
        inner = (
            f"<e:Code><e:Value>e:{code}</e:Value></e:Code>"
            f'<e:Reason><e:Text xml:lang="en">{_said(text)}</e:Text></e:Reason>'
        )
    else:
        code = "Client" if theirs else "Server"
        inner = f"<faultcode>e:{code}</faultcode><faultstring>{_said(text)}</faultstring>"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<e:Envelope xmlns:e="{soap}"><e:Body><e:Fault>{inner}</e:Fault>'
        "</e:Body></e:Envelope>"
    ).encode()


def _said(text: str) -> str:
    """As text of XML, which cannot hold control characters."""
    return escape("".join(character if character.isprintable() else " " for character in text))


def wsdl(address: str) -> bytes:
    """The description of the service at this address: document/literal, wrapped, for SOAP 1.1 and 1.2."""
    elements = "".join(_elements(operation) for operation in ARGUMENTS)
    messages = "".join(
        f'<wsdl:message name="{name}"><wsdl:part name="parameters" element="tns:{name}"/></wsdl:message>'
        for operation in ARGUMENTS
        for name in (operation, f"{operation}Response")
    )
    operations = "".join(
        f'<wsdl:operation name="{name}"><wsdl:input message="tns:{name}"/><wsdl:output message="tns:{name}Response"/>'
        "</wsdl:operation>"
        for name in ARGUMENTS
    )
    bindings = "".join(_binding(prefix, name) for prefix, name in (("soap", "TransSoap11"), ("soap12", "TransSoap12")))
    ports = "".join(
        f'<wsdl:port name="{name}Port" binding="tns:{name}">'
        f"<{prefix}:address location={quoteattr(address)}/></wsdl:port>"
        for prefix, name in (("soap", "TransSoap11"), ("soap12", "TransSoap12"))
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<wsdl:definitions name="Trans" xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/"'
        ' xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:soap12="http://schemas.xmlsoap.org/wsdl/soap12/"'
        f' xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:tns="{NAMESPACE}" targetNamespace="{NAMESPACE}">'
        f'<wsdl:types><xsd:schema targetNamespace="{NAMESPACE}" elementFormDefault="unqualified">{elements}'
        f'</xsd:schema></wsdl:types>{messages}<wsdl:portType name="Trans">{operations}</wsdl:portType>{bindings}'
        f'<wsdl:service name="Trans">{ports}</wsdl:service></wsdl:definitions>\n'
    ).encode()


def _elements(operation: str) -> str:
    arguments = "".join(
        f'<xsd:element name="{name}" type="xsd:string" minOccurs="0"/>' for name in ARGUMENTS[operation]
    )
    return (
        f'<xsd:element name="{operation}"><xsd:complexType><xsd:sequence>{arguments}</xsd:sequence></xsd:complexType>'
        f'</xsd:element><xsd:element name="{operation}Response"><xsd:complexType><xsd:sequence>'
        '<xsd:element name="return" type="xsd:long"/></xsd:sequence></xsd:complexType></xsd:element>'
    )


def _binding(prefix: str, name: str) -> str:
    operations = "".join(
        f'<wsdl:operation name="{operation}"><{prefix}:operation soapAction="" style="document"/>'
        f'<wsdl:input><{prefix}:body use="literal"/></wsdl:input>'
        f'<wsdl:output><{prefix}:body use="literal"/></wsdl:output></wsdl:operation>'
        for operation in ARGUMENTS
    )
    return (
        f'<wsdl:binding name="{name}" type="tns:Trans">'
        f'<{prefix}:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>{operations}'
        "</wsdl:binding>"
    )
