"""Chaos (混沌试验): a whole instance under load while its parts are killed, and the proof that nothing was lost.

`plan` and `blows` say from a seed what is sent and what is broken, `bodies` how a record looks on the wire, `compare`
what must hold in the end; all these are pure. The rest starts an instance of its own, sends, breaks and looks.
"""

import json
from collections.abc import Callable

from dashboards.chaos.conduct import trial
from traffic.settings import load_settings

__all__ = ["run", "trial"]


def run(*, minutes: float, seed: int, progress: Callable[[str], None]) -> None:
    """Entry of `traffic chaos`: prints the report as JSON; ends with code 1 when a check failed."""
    report = trial(load_settings(), minutes=minutes, seed=seed, progress=progress)
    print(json.dumps(report, ensure_ascii=False, indent=1))
    if not report["ok"]:
        raise SystemExit(1)
