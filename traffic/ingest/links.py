"""How another platform is linked (column `device.link`): where it comes from, where it is called, what it calls things.

Administrators write it; what is wrong in it shuts that sender out instead of opening it wide. Pure.

| key | of which kind | meaning |
| --- | --- | --- |
| `peers` | all | addresses and networks that it may come from; none: any, where it shows a password or key |
| `hosts` | jt809, gat1400 | where it may be called, beside the address that it comes from |
| `user`, `centre` | jt809 | user and access code of its login |
| `keyless` | ministry | its address alone tells who it is: `peers` must then name it |
| `codes` | ministry, gat1400 | its checkpoint codes -> ours |
| `directions` | ministry | its direction codes -> 1 with the stakes, 2 against them |
| `address` | gat1400 | its own door, "http://host:port", where we subscribe |
| `share` | gat1400 | codes of checkpoints that it may subscribe to; none: those of its unit |
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

import msgspec

from traffic.errors import TrafficError
from traffic.ingest.jt809 import Cipher


class LinkWrong(TrafficError):
    """The column says something that cannot be; the sentence names the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLink:
    """See the module's table."""

    peers: tuple[IPv4Network | IPv6Network, ...] = ()
    hosts: frozenset[str] = frozenset()
    user: int = 0
    centre: int = 0
    keyless: bool = False
    codes: Mapping[str, str] = field(default_factory=dict)
    directions: Mapping[str, int] = field(default_factory=dict)
    address: str = ""
    share: frozenset[str] = frozenset()

    def may_come_from(self, peer: str) -> bool:
        """Whether this address is one of its own, or it may come from anywhere."""
        return not self.peers or self.is_known(peer)

    def is_known(self, peer: str) -> bool:
        """Whether this address is named as its own."""
        try:
            found = ip_address(peer)
        except ValueError:
            return False
        return any(found in network for network in self.peers)

    def may_be_called_at(self, host: str, peer: str) -> bool:
        """Whether `host` is where it comes from, or named: whoever registers must not send us anywhere he likes."""
        return bool(host) and (host == peer or host in self.hosts)


class PlatformSecret(msgspec.Struct, frozen=True):
    """What `device.secret` of a platform holds, encrypted: password, and the constants of its cipher (0: none)."""

    password: str
    m1: int = 0
    ia1: int = 0
    ic1: int = 0

    @property
    def cipher(self) -> Cipher | None:
        """The cipher that was agreed with this platform."""
        return Cipher(m1=self.m1, ia1=self.ia1, ic1=self.ic1) if self.m1 or self.ia1 or self.ic1 else None


NO_LINK = DeviceLink()


def read_link(told: Mapping[str, Any]) -> DeviceLink:
    """The column as its meaning; raises LinkWrong."""
    try:
        link = DeviceLink(
            peers=tuple(ip_network(peer, strict=False) for peer in _listed(told, "peers")),
            hosts=frozenset(_listed(told, "hosts")),
            user=int(told.get("user", 0)),
            centre=int(told.get("centre", 0)),
            keyless=bool(told.get("keyless", False)),
            codes={str(theirs): str(ours) for theirs, ours in dict(told.get("codes", {})).items()},
            directions={str(code): int(way) for code, way in dict(told.get("directions", {})).items()},
            address=str(told.get("address", "")).rstrip("/"),
            share=frozenset(_listed(told, "share")),
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise LinkWrong(f"the link cannot be read: {error}") from error
    if link.keyless and not link.peers:
        raise LinkWrong("keyless needs peers: else anybody could be this sender")
    if not set(link.directions.values()) <= {0, 1, 2}:
        raise LinkWrong("directions lead to 1, 2, or 0 for not known")
    if link.address and not is_web_address(link.address):
        raise LinkWrong("address must be http://host:port")
    return link


def _listed(told: Mapping[str, Any], name: str) -> list[str]:
    found = told.get(name, [])
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise LinkWrong(f"{name} must be a list of texts")
    return found


def is_web_address(address: str) -> bool:
    """Whether it is an address of HTTP that says nothing strange: no user in it, no odd port."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return False
    printable = address.isascii() and address.isprintable() and " " not in address
    return (
        printable
        and parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and "@" not in parts.netloc
        and (port is None or port > 0)
    )


def host_of(address: str) -> str:
    """The host of a web address, "" where there is none."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
