"""One configuration object, read from the environment (`TRAFFIC_...`) and refused with a clear sentence."""

import hashlib
import os
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from traffic.clock import Clock
from traffic.errors import SettingsError

HOUSE = Path(__file__).resolve().parent.parent


def state_home() -> Path:
    """Where instances and the private prefix live: as root a place that `nobody` can reach, else the user's own."""
    if os.geteuid() == 0:
        return Path("/var/lib/traffic-command")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "traffic-command"


def default_data_dir() -> Path:
    """Each checkout has an instance of its own, named by where it stands."""
    return state_home() / "instances" / hashlib.sha256(str(HOUSE).encode()).hexdigest()[:12]


class Settings(BaseSettings):
    """Every setting, each as the environment variable TRAFFIC_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="TRAFFIC_", extra="ignore")

    data_dir: Path = Field(default_factory=default_data_dir)
    prefix_dir: Path = Field(default_factory=lambda: state_home() / "prefix")
    debian_mirror: str | None = None  # else taken from the machine's own apt sources
    database_url: str | None = None  # else the embedded TimescaleDB
    redis_url: str | None = None  # else the embedded Redis
    host: str = "127.0.0.1"
    port: int = Field(default=8600, ge=1, le=65535)  # HTTP API and web client
    socket_port: int = Field(default=8601, ge=1, le=65535)  # live view
    door_port: int = Field(default=8602, ge=1, le=65535)  # GA/T 1400 and native passages
    terminal_port: int = Field(default=8603, ge=1, le=65535)  # JT/T 808: terminals of vehicles
    platform_port: int = Field(default=8604, ge=1, le=65535)  # JT/T 809: the transport authority's platform
    registry_url: str | None = None  # the national platform's query interface; none: the registry is as imported
    registry_key: str | None = None
    picture_hosts: list[str] = []  # hosts whose pictures are copied ("host", "host:port"), networks where they stand
    twin_picture_port: int = Field(default=8605, ge=1, le=65535)  # demonstration only: the twin's own pictures
    viid_server_id: str = Field(default="22000000005030000001", pattern=r"^\d{20}$")  # how GA/T 1400 devices know us
    public_origins: list[str] = []  # further origins that may open the live view (behind a proxy)
    metrics_key: str | None = Field(
        default=None, min_length=16
    )  # Bearer key of /metrics; else only this machine reads it
    secret_key: str | None = None  # else made once in data_dir; encrypts device secrets
    partitions: int = 8  # of the bus; a power of two up to 64, fixed at first start
    workers: int = Field(default=2, ge=1, le=64)
    bus_bytes_max: int = Field(default=256 * 1024 * 1024, ge=1024)
    demo: bool = True  # model province, demonstration people, twin
    purpose: Literal["live", "replay", "drill"] = "live"  # screens of anything but the live picture say so
    clock_rate: float = Field(default=1.0, gt=0, le=1000)
    clock_offset_s: float = 0.0
    clock_origin_us: int = Field(default=0, validate_default=True)
    log_level: str = "info"

    @field_validator("partitions")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value < 1 or value > 64 or value & (value - 1):
            raise ValueError("must be 1, 2, 4, 8, 16, 32 or 64")
        return value

    @field_validator("clock_origin_us")
    @classmethod
    def _where_the_rate_begins(cls, value: int, info: ValidationInfo) -> int:
        if info.data.get("clock_rate", 1.0) != 1.0 and value <= 0:
            raise ValueError("is needed with a TRAFFIC_CLOCK_RATE other than 1: where the faster time begins")
        return value

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value not in ("debug", "info", "warning", "error"):
            raise ValueError("must be debug, info, warning or error")
        return value

    @property
    def clock(self) -> Clock:
        """The instance's clock."""
        return Clock(rate=self.clock_rate, offset_s=self.clock_offset_s, origin_us=self.clock_origin_us)


def load_settings(**overrides: object) -> Settings:
    """Read the settings; raises SettingsError naming each wrong variable and why."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        faults = "; ".join(
            f"TRAFFIC_{'_'.join(str(part) for part in fault['loc']).upper()}: "
            + fault["msg"].removeprefix("Value error, ")
            for fault in error.errors()
        )
        raise SettingsError(f"wrong setting: {faults}") from error
