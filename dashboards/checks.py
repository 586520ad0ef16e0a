"""What is looked at before anything starts, so that a person reads one sentence instead of a crash."""

import errno
import os
import secrets
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from traffic.errors import ServiceError, SettingsError
from traffic.settings import Settings

FREE_BYTES_MIN = 256 * 1024 * 1024
PORTS = ("port", "socket_port", "door_port", "terminal_port", "platform_port")


def require_space(folder: Path) -> None:
    """Raises ServiceError when the disk under the data folder is (almost) full."""
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES_MIN:
        raise ServiceError(
            f"the disk of TRAFFIC_DATA_DIR {folder} is full: {free // 2**20} MB are free,"
            f" {FREE_BYTES_MIN // 2**20} MB are needed"
        )


def require_ports(settings: Settings) -> None:
    """Raises ServiceError or SettingsError, naming address and setting, when one cannot be listened on."""
    numbers = [getattr(settings, name) for name in PORTS]
    if len(set(numbers)) < len(numbers):
        names = [f"TRAFFIC_{name.upper()}" for name in PORTS]
        raise SettingsError(f"{', '.join(names[:-1])} and {names[-1]} must be different ports")
    for name, number in zip(PORTS, numbers, strict=True):
        _require_port(settings.host, number, f"TRAFFIC_{name.upper()}")


def _require_port(host: str, port: int, setting: str) -> None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ServiceError(
                f"port {port} of {host} is taken: stop the program that listens there, or set {setting}"
            ) from error
        if error.errno == errno.EACCES:
            raise ServiceError(f"port {port} of {host} is not allowed to this user: set {setting}") from error
        raise SettingsError(f"TRAFFIC_HOST {host}: this machine cannot listen there ({error.strerror})") from error


def secret_key(settings: Settings) -> str:
    """The instance's key: the setting, else made once and kept in the data folder for its owner alone."""
    if settings.secret_key:
        return settings.secret_key
    path = settings.data_dir / "secret.key"
    if path.exists():
        kept = path.read_text(encoding="utf-8").strip()
        if not kept:
            raise ServiceError(f"{path} is empty: put the instance's key back, or set TRAFFIC_SECRET_KEY")
        return kept
    made, fresh = secrets.token_urlsafe(32), path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(made + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)  # whole or not at all: a half key would lock every stored secret for good
    return made


def environment(settings: Settings, outside: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child: what is outside, and every setting as TRAFFIC_<NAME>."""
    given = {name: value for name, value in outside.items() if not name.startswith("TRAFFIC_")}
    given["PYTHONUNBUFFERED"] = "1"
    for name, value in settings.model_dump(mode="json", exclude_none=True).items():
        given[f"TRAFFIC_{name.upper()}"] = value if isinstance(value, str) else _as_text(value)
    return given


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(f'"{entry}"' for entry in value) + "]"
    return str(value)
