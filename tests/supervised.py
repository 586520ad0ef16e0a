"""A supervisor over real services and stand-in parts, as a process that tests can signal.

`python -m tests.supervised JOURNAL`, settings from the environment.
"""

import os
import sys

from dashboards import children, cli, supervisor
from dashboards.children import Part
from traffic.settings import Settings, load_settings


def stand_ins(settings: Settings) -> list[Part]:
    """Parts like the real ones, but each a tests/fake_part.py."""

    def part(name: str, port: int = 0) -> Part:
        command: tuple[str, ...] = (
            sys.executable,
            "tests/fake_part.py",
            name.replace(" ", "-"),
            sys.argv[1],
            str(port),
        )
        if os.environ.get("TESTS_DEAF_PART") == name:
            command += ("--deaf",)
        if os.environ.get("TESTS_BROKEN_PART") == name:
            command = (sys.executable, "-c", "import sys; sys.exit('this part is broken')")
        health = f"http://{settings.host}:{port}/healthz" if port else None
        return Part(name=name, command=command, health=health)

    return [
        part("worker 1"),
        part("worker 2"),
        part("monitor"),
        part("doors", settings.door_port),
        part("api", settings.port),
        part("twin"),
    ]


def main() -> None:
    """Run until signalled."""

    children.STOP_S_MAX = 3.0  # a stand-in has nothing to finish

    def run() -> None:
        supervisor.Supervisor(load_settings(), list_parts=stand_ins, build_web=lambda progress: None).run()

    cli.guarded(run)


if __name__ == "__main__":
    main()
