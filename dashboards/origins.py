"""Which pages may ask, and where their live view is. Pure."""

import ipaddress
import re
from urllib.parse import urlsplit

from traffic.settings import Settings

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[0-9A-Za-z._-]{1,253})(:\d{1,5})?")
_ANYWHERE = ("0.0.0.0", "::", "")


def host_name(host_header: str) -> str:
    """The name in a Host header, without the port; empty when it is no host."""
    match = _HOST.fullmatch(host_header.strip())
    return match[1].lower() if match else ""


def is_loopback(name: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def origin_allowed(origin: str | None, host_header: str, settings: Settings) -> bool:
    """Whether a page of this origin may change things here. Without one it is no page but a program.

    Ours are http://<the host that we listen on>:<port> and what the settings name. Listening everywhere, the host is
    the one that was asked for; listening on loopback, any of its names.
    """
    if origin is None or origin in settings.public_origins:
        return True
    try:
        parts = urlsplit(origin)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError:
        return False
    if parts.scheme != "http" or port != settings.port or parts.path or parts.query or parts.fragment:
        return False
    name = (parts.hostname or "").lower()
    if settings.host in _ANYWHERE:
        return bool(name) and name == host_name(host_header).strip("[]")
    if is_loopback(settings.host):
        return is_loopback(name)
    return name == settings.host.lower()


def socket_url(origin: str | None, host_header: str, settings: Settings) -> str:
    """Where a page's live view is: beside its own host, or behind the proxy that its origin names."""
    if origin and origin in settings.public_origins:
        parts = urlsplit(origin)
        return f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}/view"
    return f"ws://{host_name(host_header) or '127.0.0.1'}:{settings.socket_port}/view"


def security_policy(host_header: str, settings: Settings) -> str:
    """Content-Security-Policy of every page: nothing from elsewhere but the live view."""
    sockets = {socket_url(origin, host_header, settings).removesuffix("/view") for origin in settings.public_origins}
    sockets.add(socket_url(None, host_header, settings).removesuffix("/view"))
    return "; ".join(
        (
            "default-src 'self'",
            f"connect-src 'self' {' '.join(sorted(sockets))}",
            "script-src 'self'",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )
