"""What `make setup` does beyond Python's packages: private services, and the web client when its sources changed."""

import fcntl
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from traffic import prefix
from traffic import progress as steps
from traffic.errors import ServiceError
from traffic.progress import Progress
from traffic.settings import HOUSE, Settings

WEB = HOUSE / "dashboards" / "web"
WEB_IGNORED = {"node_modules", "dist", "tests"}
NODE_LOCK = HOUSE / "requirements-node.lock"


def run(settings: Settings, progress: Progress) -> None:
    """Bring everything that is missing; raises ServiceError with one sentence."""
    if not (settings.database_url and settings.redis_url):
        prefix.ensure(settings, prefix.SERVICES, progress)
    build_web(progress)


def build_web(progress: Progress) -> Path | None:
    """The folder of the built web client, built first if its sources changed; None when there is no client."""
    if not (WEB / "package-lock.json").exists():
        return None
    dist, mark = WEB / "dist", sources_hash(WEB)
    with (WEB / "package-lock.json").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two processes may set up at once
        if _read(dist / ".built-from") == mark:
            return dist
        failures = []
        for node in _nodes(progress):
            try:
                _build(node, mark, progress)
            except _BuildFailed as error:
                failures.append(str(error))
            else:
                return dist
    raise ServiceError(f"the web client cannot be built: {failures[-1]}")


def sources_hash(folder: Path) -> str:
    """A hash over the names and bytes of everything that the client is built from."""
    total = hashlib.sha256()
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in WEB_IGNORED)
        for name in sorted(names):
            path = Path(root) / name
            total.update(f"{path.relative_to(folder)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


class _BuildFailed(Exception):
    pass


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def is_node_new_enough(version: str) -> bool:
    """Whether `node --version` names a Node that builds the client: 20.19+, 22.12+ or later."""
    numbers = re.match(r"v(\d+)\.(\d+)\.", version)
    if not numbers:
        return False
    major, minor = int(numbers[1]), int(numbers[2])
    return (major == 20 and minor >= 19) or (major == 22 and minor >= 12) or major >= 23


def _nodes(progress: Progress) -> Iterator[Path]:
    """Folders with node and npm, best first: the machine's own, then the one that comes as a Python package."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        if is_node_new_enough(steps.run([node, "--version"], progress).out):
            yield Path(node).parent
    here = Path(sys.executable).parent
    if not (here / "npm").exists():
        progress.say("installing Node.js as a Python package (the machine's own is missing or too old)")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = steps.run([*command, "--require-hashes", "-r", str(NODE_LOCK)], progress)
        if done.code:
            raise ServiceError("the web client needs Node.js 20.19 or later, and it could not be installed")
    yield here


def _build(node: Path, mark: str, progress: Progress) -> None:
    locked = hashlib.sha256((WEB / "package-lock.json").read_bytes()).hexdigest()
    installed = WEB / "node_modules" / ".installed-from"
    if _read(installed) != locked:
        progress.say("installing the web client's packages")
        _npm(node, ["ci", "--no-audit", "--no-fund"], progress)
        installed.write_text(locked, encoding="utf-8")
    progress.say("building the web client")
    fresh, old, dist = WEB / "node_modules/.dist-new", WEB / "node_modules/.dist-old", WEB / "dist"
    for folder in (fresh, old):
        shutil.rmtree(folder, ignore_errors=True)
    _npm(node, ["run", "build", "--", "--outDir", str(fresh), "--emptyOutDir"], progress)
    (fresh / ".built-from").write_text(mark, encoding="utf-8")
    if dist.exists():
        dist.rename(old)
    fresh.rename(dist)
    shutil.rmtree(old, ignore_errors=True)


def _npm(node: Path, arguments: list[str], progress: Progress) -> None:
    environment = {**os.environ, "PATH": f"{node}:{os.environ.get('PATH', '')}", "CI": "true"}
    done = steps.run([str(node / "npm"), *arguments], progress, cwd=WEB, env=environment)
    if done.code:
        lines = [line.strip() for line in (done.err + done.out).splitlines() if line.strip()]
        telling = [line for line in lines if re.search(r"rror", line)] or lines or ["npm said nothing"]
        raise _BuildFailed(f"npm {arguments[0]}: {' '.join(telling[:2])}")
