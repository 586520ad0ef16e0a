"""Settings come from the environment, and a wrong one is refused with its name."""

from pathlib import Path

import pytest

from dashboards import checks
from traffic.errors import ServiceError, SettingsError
from traffic.service import InstanceLock
from traffic.settings import load_settings


def test_without_any_variable_the_defaults_bind_loopback() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.socket_port, settings.door_port) == ("127.0.0.1", 8600, 8601, 8602)
    assert settings.database_url is None and settings.redis_url is None and settings.demo


def test_a_variable_sets_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAFFIC_PORT", "9000")
    monkeypatch.setenv("TRAFFIC_DEMO", "false")
    monkeypatch.setenv("TRAFFIC_PUBLIC_ORIGINS", '["https://traffic.example"]')
    settings = load_settings()
    assert (settings.port, settings.demo, settings.public_origins) == (9000, False, ["https://traffic.example"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRAFFIC_PORT", "0"),
        ("TRAFFIC_PORT", "eighty"),
        ("TRAFFIC_DOOR_PORT", "65536"),
        ("TRAFFIC_PARTITIONS", "6"),
        ("TRAFFIC_PARTITIONS", "128"),
        ("TRAFFIC_WORKERS", "0"),
        ("TRAFFIC_LOG_LEVEL", "loud"),
        ("TRAFFIC_DEMO", "perhaps"),
        ("TRAFFIC_VIID_SERVER_ID", "1"),
        ("TRAFFIC_CLOCK_RATE", "0"),
    ],
)
def test_a_wrong_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"wrong setting: {name}: "):
        load_settings()


def test_a_faster_clock_must_say_where_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAFFIC_CLOCK_RATE", "10")
    with pytest.raises(SettingsError, match="TRAFFIC_CLOCK_ORIGIN_US: is needed"):
        load_settings()
    monkeypatch.setenv("TRAFFIC_CLOCK_ORIGIN_US", "1790000000000000")
    assert load_settings().clock.rate == 10


def test_every_wrong_value_is_named_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAFFIC_PORT", "x")
    monkeypatch.setenv("TRAFFIC_WORKERS", "x")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert "TRAFFIC_PORT" in str(refused.value) and "TRAFFIC_WORKERS" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_child_reads_back_the_settings_of_its_supervisor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = load_settings(
        data_dir=tmp_path, port=9001, demo=False, public_origins=["https://a.example", "https://b.example"],
        database_url="postgresql://traffic@/traffic?host=/run/x", secret_key="key", clock_offset_s=-3.5,
    )  # fmt: skip
    given = checks.environment(settings, {"PATH": "/bin", "TRAFFIC_PORT": "1", "TRAFFIC_LOG_LEVEL": "loud"})
    assert given["PATH"] == "/bin"
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


def test_the_secret_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path)
    made = checks.secret_key(settings)
    assert len(made) >= 32
    assert checks.secret_key(settings) == made
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600
    assert checks.secret_key(load_settings(data_dir=tmp_path, secret_key="given")) == "given"


def test_an_emptied_key_file_is_refused_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_text("\n")
    with pytest.raises(ServiceError, match="secret.key is empty"):
        checks.secret_key(load_settings(data_dir=tmp_path))


def test_ports_must_differ() -> None:
    with pytest.raises(SettingsError, match="must be different ports"):
        checks.require_ports(load_settings(port=9000, door_port=9000))


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(SettingsError, match="TRAFFIC_HOST 192.0.2.1"):
        checks.require_ports(load_settings(host="192.0.2.1"))


def test_a_full_disk_is_told_with_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checks, "FREE_BYTES_MIN", 2**62)
    with pytest.raises(ServiceError, match=f"the disk of TRAFFIC_DATA_DIR {tmp_path} is full"):
        checks.require_space(tmp_path)


def test_a_lock_is_free_again_after_its_release(tmp_path: Path) -> None:
    first, second = (InstanceLock(tmp_path / "lock", what="an instance") for _ in range(2))
    first.take()
    with pytest.raises(ServiceError, match="an instance of TRAFFIC_DATA_DIR .* already runs"):
        second.take()
    first.release()
    first.release()
    second.take()
    second.release()
