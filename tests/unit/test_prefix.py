"""Where Debian's packages come from, and that a fault is told in one sentence and leaves nothing behind."""

import os
from pathlib import Path

import pytest

from dashboards.setup import is_node_new_enough, sources_hash
from traffic import prefix
from traffic.errors import ServiceError
from traffic.progress import CalledOff, Progress, run
from traffic.settings import load_settings

BUNDLE = prefix.Bundle(name="trial", packages=("hello",), programs=("usr/bin/hello",))


def apt_folder(folder: Path, **files: str) -> Path:
    """A stand-in for /etc/apt with `sources` (the old file), `one` (a .list) and `stanzas` (a .sources)."""
    (folder / "sources.list.d").mkdir(parents=True)
    names = {
        "sources": "sources.list",
        "one": "sources.list.d/one.list",
        "stanzas": "sources.list.d/debian.sources",
        "early": "sources.list.d/a.sources",
    }
    for key, text in files.items():
        (folder / names[key]).write_text(text)
    return folder


def test_the_mirror_is_taken_from_deb822_sources(tmp_path: Path) -> None:
    etc = apt_folder(
        tmp_path,
        stanzas="Types: deb deb-src\n# a remark\nURIs: http://mirror.example/debian\n"
        "Suites: bookworm\n bookworm-updates\n"
        "Components: main contrib\n\nTypes: deb\nURIs: http://mirror.example/debian-security/\n"
        "Suites: bookworm-security\nComponents: main\nSigned-By: /x\n",
    )
    assert prefix.find_mirrors(None, etc) == ("http://mirror.example/debian", "http://mirror.example/debian-security/")


def test_the_mirror_is_taken_from_one_line_sources(tmp_path: Path) -> None:
    etc = apt_folder(
        tmp_path,
        sources="# deb http://old.example/debian bookworm main\n"
        "deb cdrom:[Debian]/ bookworm main\ndeb-src http://src.example/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian trixie main # the office's\n",
    )
    assert prefix.find_mirrors(None, etc) == ("http://mirror.example/debian", None)


def test_archives_of_others_and_disabled_ones_are_passed_over(tmp_path: Path) -> None:
    etc = apt_folder(
        tmp_path,
        early="Types: deb\nURIs: http://vendor.example/apt\nSuites: bookworm\nComponents: main\n",
        one="deb http://tools.example/repo bookworm-tools main\n",
        stanzas="Enabled: no\nTypes: deb\nURIs: http://off.example/debian\nSuites: bookworm\nComponents: main\n\n"
        "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main\n",
    )
    assert prefix.find_mirrors(None, etc)[0] == "http://mirror.example/debian"


def test_a_chosen_mirror_comes_first(tmp_path: Path) -> None:
    assert prefix.find_mirrors("http://chosen.example/debian/", tmp_path) == (
        "http://chosen.example/debian",
        "http://chosen.example/debian-security",
    )
    assert prefix.find_mirrors("file:/media/debian", tmp_path) == ("file:/media/debian", None)


@pytest.mark.parametrize("sources", ["", "\0\xff nonsense", "deb http://x.example/ubuntu noble main\n", "Types: deb\n"])
def test_a_machine_without_debian_sources_is_told_what_to_do(tmp_path: Path, sources: str) -> None:
    etc = apt_folder(tmp_path, sources=sources, stanzas=sources)
    with pytest.raises(ServiceError, match="TRAFFIC_DEBIAN_MIRROR.*TRAFFIC_DATABASE_URL.*compose.yaml"):
        prefix.find_mirrors(None, etc)


def test_a_mirror_that_is_no_address_is_refused() -> None:
    with pytest.raises(ServiceError, match="TRAFFIC_DEBIAN_MIRROR is 'the office'"):
        prefix.find_mirrors("the office")


def test_a_mirror_that_does_not_answer_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    settings = load_settings(prefix_dir=tmp_path / "prefix", debian_mirror=f"file:{tmp_path}/nowhere")
    with pytest.raises(ServiceError, match="apt could not fetch Debian's package lists") as refused:
        prefix.ensure(settings, BUNDLE)
    assert "\n" not in str(refused.value)
    assert [path.name for path in settings.prefix_dir.iterdir()] == [".trial.lock"]


def test_a_machine_without_apt_is_told_the_other_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceError, match="apt-get is missing.*TRAFFIC_DATABASE_URL"):
        prefix.ensure(load_settings(prefix_dir=tmp_path / "prefix"), BUNDLE)


def test_a_prefix_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceError, match="TRAFFIC_PREFIX_DIR .*/file/prefix cannot be written"):
        prefix.ensure(load_settings(prefix_dir=tmp_path / "file" / "prefix"), BUNDLE)


@pytest.mark.parametrize("record", ["", "[]", "{", '{"asked": {"suite": "old"}}'])
def test_a_bundle_of_another_making_counts_as_missing(tmp_path: Path, record: str) -> None:
    settings = load_settings(prefix_dir=tmp_path)
    folder = prefix.bundle_folder(settings, BUNDLE)
    folder.mkdir()
    (folder / "packages.json").write_text(record)
    assert not prefix.is_unpacked(settings, BUNDLE)


def test_a_command_that_is_called_off_is_ended_with_its_children(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    progress = Progress(called_off=lambda: mark.exists() and bool(mark.read_text().strip()))
    with pytest.raises(CalledOff):
        run(["sh", "-c", f"sleep 600 & echo $! > {mark}; wait"], progress)
    pid = int(mark.read_text())
    state = Path(f"/proc/{pid}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_a_command_that_does_not_exist_is_named() -> None:
    with pytest.raises(ServiceError, match="the program no-such-program is missing"):
        run(["no-such-program"], Progress())


@pytest.mark.parametrize(
    ("version", "enough"),
    [("v20.19.0", True), ("v20.18.3", False), ("v21.9.0", False), ("v22.12.1", True), ("v22.11.0", False),
     ("v24.1.0", True), ("v18.20.4", False), ("", False), ("nonsense", False)],
)  # fmt: skip
def test_node_is_new_enough_or_not(version: str, enough: bool) -> None:
    assert is_node_new_enough(version) is enough


def test_the_web_client_is_built_again_only_when_a_source_changes(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/main.ts").write_text("1")
    first = sources_hash(tmp_path)
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules/x").write_text("x")
    os.utime(tmp_path / "src/main.ts", (1, 1))
    assert sources_hash(tmp_path) == first
    (tmp_path / "src/main.ts").rename(tmp_path / "src/other.ts")
    assert sources_hash(tmp_path) != first
