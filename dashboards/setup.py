"""What `make setup` does beyond Python's packages: private services, kernels, and the web client when its sources
changed."""

import fcntl
import hashlib
import os
import re
import shutil
import sys
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
    compile_kernels(progress)
    build_web(progress)


def compile_kernels(progress: Progress) -> None:
    """The rules' kernels, compiled where their sources changed."""
    from traffic.vehicles import compiled  # which brings the compiler: half a second that nothing else needs

    if not compiled.is_ready():
        progress.say("compiling the rules")
        compiled.ensure()


def build_web(progress: Progress) -> Path | None:
    """The folder of the built web client, built first if its sources changed; None when there is no client."""
    if not (WEB / "package-lock.json").exists():
        return None
    dist, mark = WEB / "dist", sources_hash(WEB)
    with (WEB / "package-lock.json").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two processes may set up at once
        if _read(dist / ".built-from") == mark:
            return dist
        node = install_packages(WEB, "the web client's packages", progress)
        _build(node, mark, progress)
    return dist


def install_packages(folder: Path, what: str, progress: Progress) -> Path:
    """Bring the npm packages of a folder's lock file; gives the folder of the node that took them.

    Two processes must not do so at once: the caller holds a lock.
    """
    node = machine_node(progress)
    if not node or not _install(node, folder, what, progress):
        node = python_node(progress)
        if not _install(node, folder, what, progress):
            raise ServiceError(f"{what} cannot be installed from the npm registry")
    return node


def sources_hash(folder: Path) -> str:
    """A hash over the names and bytes of everything that the client is built from."""
    total = hashlib.sha256()
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in WEB_IGNORED)
        for name in sorted(names):
            path = Path(root) / name
            total.update(f"{path.relative_to(folder)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


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


def machine_node(progress: Progress) -> Path | None:
    """The folder of the machine's own node and npm, if they are new enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and is_node_new_enough(steps.run([node, "--version"], progress).out):
        return Path(node).parent
    return None


def python_node(progress: Progress) -> Path:
    """The folder of a node and npm that came as a Python package, installed now if need be."""
    here = Path(sys.executable).parent
    if not (here / "npm").exists():
        progress.say("installing Node.js as a Python package (the machine's own does not do)")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = steps.run([*command, "--require-hashes", "-r", str(NODE_LOCK)], progress)
        if done.code:
            raise ServiceError("the web client needs Node.js 20.19 or later, and it could not be installed")
    return here


def _install(node: Path, folder: Path, what: str, progress: Progress) -> bool:
    """Whether the packages of the lock file are there now."""
    locked = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    installed = folder / "node_modules" / ".installed-from"
    if _read(installed) != locked:
        progress.say(f"installing {what}")
        if _npm(node, folder, ["ci", "--no-audit", "--no-fund"], progress).code:
            return False
        installed.write_text(locked, encoding="utf-8")
    return True


def _build(node: Path, mark: str, progress: Progress) -> None:
    progress.say("building the web client")
    fresh, old, dist = WEB / "node_modules/.dist-new", WEB / "node_modules/.dist-old", WEB / "dist"
    for folder in (fresh, old):
        shutil.rmtree(folder, ignore_errors=True)
    done = _npm(node, WEB, ["run", "build", "--", "--outDir", str(fresh), "--emptyOutDir"], progress)
    if done.code:
        lines = [line.strip() for line in (done.err + done.out).splitlines() if line.strip()]
        telling = [line for line in lines if re.search(r"rror", line)] or lines or ["npm said nothing"]
        raise ServiceError(f"the web client cannot be built: {' '.join(telling[:2])}")
    (fresh / ".built-from").write_text(mark, encoding="utf-8")
    if dist.exists():
        dist.rename(old)
    fresh.rename(dist)
    shutil.rmtree(old, ignore_errors=True)


def _npm(node: Path, folder: Path, arguments: list[str], progress: Progress) -> steps.Done:
    path = f"{node}:{os.environ.get('PATH', '')}"
    environment = {**os.environ, "PATH": path, "CI": "true", "NO_COLOR": "1", "FORCE_COLOR": "0"}
    return steps.run([str(node / "npm"), *arguments], progress, cwd=folder, env=environment)
