"""The API's child that runs dry runs: started when one is asked for, gone when none waits."""

import os
from pathlib import Path

import structlog

from dashboards.checks import environment
from dashboards.children import Child, Part
from traffic.log import bound_file
from traffic.settings import Settings

log = structlog.get_logger(__name__)


class DryRunner:
    """At most one child of this API process; of all processes of the instance one works at a time (dry_run_queue)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._child: Child | None = None

    def ensure(self) -> None:
        """See to it that somebody empties the queue."""
        if self._child is not None and self._child.is_running():
            return
        path = Path(self._settings.data_dir) / "logs" / "dry-run.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            bound_file(path)
        self._child = Child(
            part=Part(name="dry-run", command=Part.command_of("dry-run")),
            log=path,
            environment=environment(self._settings, os.environ),
            say=log.info,
        )
        self._child.start()

    def stop(self) -> None:
        """End the child with the API; what it runs is marked as failed by whoever looks next."""
        if self._child is not None:
            self._child.ask_stop()
            self._child.wait_stopped()
            self._child = None
