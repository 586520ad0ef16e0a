"""HTTP Digest (RFC 7616, RFC 2617) as GA/T 1400 devices speak it: MD5, qop auth or none. Pure.

Only MD5, because a device's HA1 is stored and is bound to its hash function; a nonce is signed by the server, so that
any door can check one that another gave out.
"""

import base64
import binascii
import hashlib
import hmac
import re
import struct
from dataclasses import dataclass
from urllib.parse import urlsplit

from traffic.errors import TrafficError
from traffic.secrets import REALM

NONCE_S = 300  # a device answers a challenge within it, and may use the nonce again with a growing count
HEADER_CHARS_MAX = 4096
_SIGNATURE_BYTES = 16
_PARAMETER = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))\s*(?:,|$)')


class DigestRefused(TrafficError):
    """The answer to a challenge is wrong; `stale`: only its nonce is too old, the same password will do."""

    def __init__(self, message: str, *, stale: bool = False) -> None:
        super().__init__(message)
        self.stale = stale


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """An Authorization header, taken apart. `count` is nc; `qop` "" means the form of RFC 2069."""

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    qop: str
    count: str
    cnonce: str


def parse(header: str) -> Credentials:
    """Take an Authorization header apart; raises DigestRefused with what is wrong with it."""
    if len(header) > HEADER_CHARS_MAX:
        raise DigestRefused("the Authorization header is too long")
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() != "digest":
        raise DigestRefused("the Authorization header is not Digest")
    found: dict[str, str] = {}
    at, rest = 0, rest.strip()
    while at < len(rest):
        match = _PARAMETER.match(rest, at)
        if not match or match[1].lower() in found:
            raise DigestRefused("the Digest header cannot be read")
        found[match[1].lower()] = re.sub(r"\\(.)", r"\1", match[2]) if match[2] is not None else match[3]
        at = match.end()
        while at < len(rest) and rest[at] in " \t":
            at += 1
    return _credentials(found)


def _credentials(found: dict[str, str]) -> Credentials:
    for name in ("username", "realm", "nonce", "uri", "response"):
        if name not in found:
            raise DigestRefused(f"the Digest header has no {name}")
    if found.get("algorithm", "MD5").upper() != "MD5":
        raise DigestRefused("only algorithm MD5 is offered")
    qop = found.get("qop", "")
    if qop and qop != "auth":
        raise DigestRefused("only qop auth is offered")
    if qop and not re.fullmatch(r"[0-9a-fA-F]{8}", found.get("nc", ""), re.ASCII):
        raise DigestRefused("the Digest header has no nc of 8 hexadecimal digits")
    if qop and not found.get("cnonce"):
        raise DigestRefused("the Digest header has no cnonce")
    return Credentials(
        username=found["username"],
        realm=found["realm"],
        nonce=found["nonce"],
        uri=found["uri"],
        response=found["response"].lower(),
        qop=qop,
        count=found.get("nc", "") if qop else "",
        cnonce=found.get("cnonce", ""),
    )


def challenge(nonce: str, *, stale: bool = False) -> str:
    """The WWW-Authenticate header."""
    more = ", stale=true" if stale else ""
    return f'Digest realm="{REALM}", qop="auth", algorithm=MD5, nonce="{nonce}"{more}'


def make_nonce(key: bytes, *, at_s: int, salt: bytes) -> str:
    """A nonce that says when it was given out and proves who gave it. `salt`: 8 random bytes."""
    head = struct.pack(">Q", at_s) + salt
    signature = hmac.digest(key, head, "sha256")[:_SIGNATURE_BYTES]
    return base64.urlsafe_b64encode(head + signature).decode().rstrip("=")


def nonce_age_s(key: bytes, nonce: str, *, at_s: int) -> int:
    """How long ago this nonce was given out; raises DigestRefused when it is not one of ours."""
    try:
        raw = base64.b64decode(nonce + "=" * (-len(nonce) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise DigestRefused("the nonce is not one of this server's") from error
    head, signature = raw[:-_SIGNATURE_BYTES], raw[-_SIGNATURE_BYTES:]
    if len(head) != 16 or not hmac.compare_digest(signature, hmac.digest(key, head, "sha256")[:_SIGNATURE_BYTES]):
        raise DigestRefused("the nonce is not one of this server's")
    return at_s - int.from_bytes(head[:8])


def expected_response(credentials: Credentials, ha1: str, method: str) -> str:
    """What the response must be (RFC 7616 section 3.4.1)."""
    ha2 = _md5(f"{method}:{credentials.uri}")
    if not credentials.qop:
        return _md5(f"{ha1}:{credentials.nonce}:{ha2}")
    return _md5(f"{ha1}:{credentials.nonce}:{credentials.count}:{credentials.cnonce}:{credentials.qop}:{ha2}")


def verify(credentials: Credentials, *, ha1: str, method: str, path: str, key: bytes, at_s: int) -> None:
    """Check an answer in full but for its replay; raises DigestRefused. `path`: of the request, without query."""
    if credentials.realm != REALM:
        raise DigestRefused("the realm is another one")
    try:
        named = urlsplit(credentials.uri).path
    except ValueError as error:
        raise DigestRefused("the uri cannot be read") from error
    if named != path:
        raise DigestRefused("the uri is not that of the request")
    age_s = nonce_age_s(key, credentials.nonce, at_s=at_s)
    wanted = expected_response(credentials, ha1, method)
    if not hmac.compare_digest(wanted.encode(), credentials.response.encode()):
        raise DigestRefused("the device or its password is wrong")
    if not 0 <= age_s <= NONCE_S:
        raise DigestRefused("the nonce is too old", stale=True)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
