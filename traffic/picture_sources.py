"""Where pictures may be fetched from, and what counts as one. Decisions only; traffic/pictures.py fetches."""

import io
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from PIL import Image, UnidentifiedImageError

from traffic.errors import SettingsError, TrafficError

PIXELS_MAX = 25_000_000
ADDRESS_CHARS_MAX = 2_048
MEDIA_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
_PORTS = {"http": 80, "https": 443}
_KEPT = "/%:@!$&'()*+,;=-._~"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class PictureRefused(TrafficError):
    """This address is never fetched, or what it gave is no picture. `reason`: a code for screens."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An address taken apart: what is asked of whom."""

    scheme: str
    host: str
    port: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Hosts that may be asked, as "name", "name:port" or an address; networks in which a named host may stand.

    A name is believed only where it leads to a public address or into a listed network: else whoever answers for the
    name could have this machine ask its own neighbours. A host listed by its address is meant as it stands.
    """

    hosts: frozenset[tuple[str, int | None]]
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, listed: Iterable[str]) -> "Sources":
        """From the setting; raises SettingsError for an entry that is none."""
        hosts: set[tuple[str, int | None]] = set()
        networks: list[Network] = []
        for entry in listed:
            if "/" in entry:
                try:
                    networks.append(ipaddress.ip_network(entry, strict=False))
                except ValueError as error:
                    raise SettingsError(f"TRAFFIC_PICTURE_HOSTS: {entry!r} is neither a host nor a network") from error
            else:
                hosts.add(_listed(entry))
        return cls(hosts=frozenset(hosts), networks=tuple(networks))

    def target(self, address: str) -> Target:
        """What to ask for; raises PictureRefused for what is not an address of a listed host."""
        if len(address) > ADDRESS_CHARS_MAX:
            raise PictureRefused("address", "the address is too long")
        try:
            parts = urlsplit(address)
            host, port = (parts.hostname or "").rstrip("."), parts.port
        except ValueError as error:
            raise PictureRefused("address", "the address cannot be read") from error
        if parts.scheme not in _PORTS or not host:
            raise PictureRefused("address", "only http and https addresses are fetched")
        usual = _PORTS[parts.scheme]
        asked = usual if port is None else port
        if (host, asked) not in self.hosts and not (asked == usual and (host, None) in self.hosts):
            raise PictureRefused("host", f"{host[:80]} is not among the hosts of pictures")
        path = quote(parts.path or "/", safe=_KEPT) + (
            f"?{quote(parts.query, safe=_KEPT + '?')}" if parts.query else ""
        )
        return Target(scheme=parts.scheme, host=host, port=asked, path=path)

    def choose(self, target: Target, found: Sequence[str]) -> str:
        """The address to connect to, of those that the host's name leads to; raises PictureRefused."""
        for text in found:
            address = ipaddress.ip_address(text.partition("%")[0])
            if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
                address = address.ipv4_mapped
            if _is_address(target.host) or self._may_stand_at(address):
                return str(address)
        raise PictureRefused("private_address", f"{target.host[:80]} leads to an address that is not fetched from")

    def _may_stand_at(self, address: Address) -> bool:
        if any(address.version == network.version and address in network for network in self.networks):
            return True
        return address.is_global and not address.is_multicast


def _listed(entry: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(f"//{entry}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise SettingsError(f"TRAFFIC_PICTURE_HOSTS: {entry!r} is no host") from error
    if not host or parts.path or parts.username:
        raise SettingsError(f"TRAFFIC_PICTURE_HOSTS: {entry!r} is no host")
    return host, port


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def media_type_of(body: bytes) -> str:
    """What the bytes are, by themselves; raises PictureRefused for all but whole JPEG, PNG and WebP pictures."""
    try:
        with Image.open(io.BytesIO(body), formats=list(MEDIA_TYPES)) as picture:
            kind, (width, height) = picture.format or "", picture.size
            if width * height > PIXELS_MAX:
                raise PictureRefused("too_large", f"the picture has {width} x {height} points")
            picture.load()  # to its end: one that was cut off is none
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureRefused("too_large", "the picture has too many points") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError) as error:
        raise PictureRefused("not_a_picture", "what came is no JPEG, PNG or WebP picture") from error
    return MEDIA_TYPES[kind]
