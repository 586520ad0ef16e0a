"""The browser of the tests: Debian's Chromium with Chinese fonts, installed as root, else unpacked privately.

`python -m tests.browsers` brings it; a test that needs it fails with one sentence when it is missing.
"""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from traffic import prefix
from traffic.errors import ServiceError, TrafficError
from traffic.progress import Progress, run
from traffic.settings import Settings, load_settings

PACKAGES = ("chromium", "fonts-noto-cjk")
PROGRAM = "usr/lib/chromium/chromium"
BUNDLE = prefix.Bundle(name="browser", packages=PACKAGES, programs=(PROGRAM,))
WRAPPER = "chromium-private"


def browser_path(settings: Settings | None = None) -> Path:
    """The browser's program; raises ServiceError with one sentence when there is none."""
    settings = settings or load_settings()
    private = prefix.bundle_folder(settings, BUNDLE) / WRAPPER
    if private.exists() and prefix.is_unpacked(settings, BUNDLE):
        return private
    installed = shutil.which("chromium")
    if installed and has_chinese_font():
        return Path(installed)
    raise ServiceError("the tests' browser is missing: run `make test`, or install the packages " + ", ".join(PACKAGES))


def has_chinese_font() -> bool:
    """Whether the machine draws Chinese: the screens are Chinese."""
    lister = shutil.which("fc-list")
    if not lister:
        return False
    done = subprocess.run([lister, ":lang=zh-cn", "family"], capture_output=True, text=True, check=False)
    return bool(done.stdout.strip())


def ensure(settings: Settings, progress: Progress) -> Path:
    """Bring the browser if it is missing: by the machine's apt as root, else unpacked into the private prefix."""
    try:
        return browser_path(settings)
    except ServiceError:
        return (
            _install(settings, progress)
            if os.geteuid() == 0 and shutil.which("apt-get")
            else unpack(settings, progress)
        )


def _install(settings: Settings, progress: Progress) -> Path:
    progress.say(f"installing {' and '.join(PACKAGES)} for the browser tests")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", "fontconfig", *PACKAGES]):
        done = run(["apt-get", "-qq", *arguments], progress, env=environment)
        if done.code and arguments != ["update"]:  # one dead source of the machine need not matter
            words = (done.err or done.out).strip().splitlines() or ["it said nothing"]
            raise ServiceError(f"apt-get could not install the tests' browser: {words[-1]}")
    return browser_path(settings)


def unpack(settings: Settings, progress: Progress) -> Path:
    """Unpack the browser and all that it needs into the private prefix, with a wrapper that finds its fonts."""
    folder = prefix.ensure(settings, BUNDLE, progress)
    fonts, wrapper = folder / "fonts.conf", folder / WRAPPER
    fonts.write_text(
        f'<?xml version="1.0"?>\n<fontconfig><dir>{folder}/usr/share/fonts</dir>'
        '<cachedir prefix="xdg">fontconfig</cachedir></fontconfig>\n',
        encoding="utf-8",
    )
    place = shlex.quote(str(folder))
    wrapper.write_text(
        f'#!/bin/sh\nFONTCONFIG_FILE={place}/fonts.conf XDG_DATA_DIRS={place}/usr/share exec {place}/{PROGRAM} "$@"\n',
        encoding="utf-8",
    )
    wrapper.chmod(0o755)
    return wrapper


def main() -> None:
    """Bring the browser, or say in one sentence why not."""
    try:
        ensure(load_settings(), Progress(say=lambda line: print(line, flush=True)))
    except TrafficError as error:
        sys.exit(f"tests: {error}")


if __name__ == "__main__":
    main()
