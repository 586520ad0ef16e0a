"""Embedded services: they survive kills, keep what they acknowledged, and refuse what would harm."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from tests.conftest import wait_until
from traffic.embedded import Embedded, check_database, check_redis
from traffic.errors import ServiceError
from traffic.progress import CalledOff, Progress
from traffic.settings import Settings, load_settings

HOLDER = (
    "import signal, sys; from traffic.embedded import Embedded; from traffic.settings import load_settings\n"
    "e = Embedded(load_settings()).start(); print(e.postgres.pid, e.redis.pid, flush=True); signal.pause()\n"
)


@pytest.fixture(scope="module")
def mine(open_folder: Path) -> Settings:
    """Settings of an instance whose services these tests may kill."""
    return load_settings(data_dir=open_folder / "own")


@pytest.fixture
def own(mine: Settings) -> Iterator[Embedded]:
    """The services of that instance, running; the data folder is kept from test to test."""
    with Embedded(mine) as embedded:
        yield embedded


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def test_both_are_durable_and_reached_by_socket_only(own: Embedded) -> None:
    with psycopg.connect(own.database_url) as connection:
        shown = {
            name: connection.execute(f"SHOW {name}").fetchone()[0]  # type: ignore[index]
            for name in ("fsync", "synchronous_commit", "full_page_writes", "listen_addresses", "data_checksums")
        }
    assert shown == {
        "fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "listen_addresses": "",
        "data_checksums": "on",
    }  # fmt: skip
    check_redis(own.redis_url)
    check_database(own.database_url)
    with redis.Redis.from_url(own.redis_url, decode_responses=True) as client:
        assert client.config_get("port") == {"port": "0"}
    assert own.postgres and (own.postgres.folder.stat().st_mode & 0o777) == 0o700


def test_what_was_acknowledged_outlives_a_kill_of_both(own: Embedded) -> None:
    assert own.postgres and own.redis
    with psycopg.connect(own.database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (number int)")
        connection.execute("INSERT INTO kept VALUES (1)")
    redis.Redis.from_url(own.redis_url).set("kept", "1")
    for service in (own.postgres, own.redis):
        before = service.pid
        service.kill()
        assert not service.is_running()
        service.restart()
        assert service.is_running() and service.pid != before
    with psycopg.connect(own.database_url) as connection:
        assert connection.execute("SELECT count(*) > 0 FROM kept").fetchone() == (True,)
    assert redis.Redis.from_url(own.redis_url).get("kept") == b"1"


def test_a_stop_leaves_no_process_and_no_socket(own: Embedded) -> None:
    services = own.services
    started = [pid for service in services for pid in service.processes()]
    assert len(started) > 3
    own.stop()
    assert not [pid for pid in started if alive(pid)]
    assert not [pid for service in services for pid in service.processes()]
    assert not list((services[0].folder.parent / "run").glob(".s.PGSQL*"))


def test_a_paused_service_is_stopped_all_the_same(own: Embedded) -> None:
    assert own.redis
    pid = own.redis.pid
    os.kill(pid, signal.SIGSTOP)
    own.stop()
    assert not alive(pid)


def test_a_second_instance_on_the_same_folder_is_refused(own: Embedded, mine: Settings) -> None:
    with pytest.raises(ServiceError, match=rf"already runs \(process {os.getpid()}\).*another TRAFFIC_DATA_DIR"):
        Embedded(mine).start()
    assert all(service.is_running() for service in own.services)


def test_a_killed_holder_takes_its_services_with_it_and_the_next_start_clears_up(mine: Settings) -> None:
    environment = {**os.environ, "TRAFFIC_DATA_DIR": str(mine.data_dir)}
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], env=environment, stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    postgres, bus = (int(word) for word in holder.stdout.readline().split())
    os.kill(bus, signal.SIGSTOP)  # so that something is left for the next start
    holder.kill()
    holder.wait()
    wait_until(lambda: not alive(postgres), what="the end of PostgreSQL")
    assert alive(bus)
    with Embedded(mine) as embedded:
        assert not alive(bus)
        check_redis(embedded.redis_url)
    holder.stdout.close()


def test_files_of_a_crashed_start_do_no_harm(mine: Settings) -> None:
    with Embedded(mine) as embedded:
        assert embedded.postgres and embedded.redis
        data = embedded.postgres.folder
        run = data.parent / "run"
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n1\n5432\n{run}\n\n")
    (run / "redis.sock").write_text("stale")
    (data.parent / "postgres.new").mkdir(exist_ok=True)
    with Embedded(mine) as embedded:
        check_database(embedded.database_url)


def test_a_long_data_folder_gets_a_short_socket_folder(open_folder: Path) -> None:
    folder = open_folder / ("long" * 20) / ("name" * 20)
    embedded = Embedded(load_settings(data_dir=folder, database_url="postgresql://unused"))
    with embedded:
        check_redis(embedded.redis_url)
        socket_folder = (folder / "run").resolve()
        assert len(str(socket_folder)) < 50 and socket_folder.stat().st_mode & 0o777 == 0o700
    assert not socket_folder.exists() and not (folder / "run").is_symlink()


def test_only_what_has_no_url_is_embedded(open_folder: Path) -> None:
    given = load_settings(data_dir=open_folder / "none", database_url="postgresql://a", redis_url="redis://b")
    with Embedded(given) as embedded:
        assert (embedded.services, embedded.database_url, embedded.redis_url) == ([], "postgresql://a", "redis://b")
    assert not given.data_dir.exists()


def test_a_start_that_is_called_off_leaves_nothing(mine: Settings) -> None:
    embedded = Embedded(mine, Progress(called_off=lambda: bool(embedded.services)))
    with pytest.raises(CalledOff):
        embedded.start()
    assert not [pid for service in embedded.services for pid in service.processes()]
    Embedded(mine).start().stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts the services as another user")
def test_a_folder_that_the_services_cannot_enter_is_told(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(ServiceError, match="TRAFFIC_DATA_DIR .* cannot be entered by the user nobody"):
        Embedded(load_settings(data_dir=closed / "data")).start()


def test_files_in_the_way_of_the_database_are_not_touched(open_folder: Path) -> None:
    folder = open_folder / "occupied"
    (folder / "postgres").mkdir(parents=True)
    (folder / "postgres/letter.txt").write_text("dear")
    with pytest.raises(ServiceError, match="holds files but no database"):
        Embedded(load_settings(data_dir=folder)).start()
    assert (folder / "postgres/letter.txt").read_text() == "dear"


@pytest.mark.parametrize(
    ("name", "value"),
    [("appendfsync", "everysec"), ("appendonly", "no"), ("maxmemory-policy", "allkeys-lru")],
)
def test_a_redis_that_could_lose_records_is_refused(own: Embedded, name: str, value: str) -> None:
    redis.Redis.from_url(own.redis_url).config_set(name, value)
    with pytest.raises(ServiceError, match=f"TRAFFIC_REDIS_URL: .*may lose.*{name} is '{value}'"):
        check_redis(own.redis_url)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "unix:///nowhere/redis.sock", "nonsense", "http://x"])
def test_a_redis_that_is_not_there_is_one_sentence(url: str) -> None:
    with pytest.raises(ServiceError, match="TRAFFIC_REDIS_URL: Redis cannot be used") as refused:
        check_redis(url)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["postgresql://127.0.0.1:1/traffic", "postgresql://@/traffic?host=/nowhere", "nonsense"]
)
def test_a_database_that_is_not_there_is_one_sentence(url: str) -> None:
    with pytest.raises(ServiceError, match="TRAFFIC_DATABASE_URL: PostgreSQL cannot be used") as refused:
        check_database(url)
    assert "\n" not in str(refused.value)
