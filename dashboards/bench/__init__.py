"""What is measured (`traffic bench NAME --json`), each beside a reference from the same run.

Every bench makes an instance of its own in a scratch folder, runs the real processes, and leaves nothing behind.
"""

from collections.abc import Mapping

from dashboards.bench import cycle, doors, fanout, growth, ingest, latency, lookups, rules, takeover, terminals, twin
from dashboards.bench.measured import Measurement, Progress, as_text
from dashboards.bench.measured import run as _run

__all__ = ["BENCHES", "as_text", "run"]

BENCHES: dict[str, Measurement] = {
    "cycle": cycle.BENCH,
    "doors": doors.BENCH,
    "fanout": fanout.BENCH,
    "growth": growth.BENCH,
    "ingest": ingest.BENCH,
    "latency": latency.BENCH,
    "lookups": lookups.BENCH,
    "rules": rules.BENCH,
    "takeover": takeover.BENCH,
    "terminals": terminals.BENCH,
    "twin": twin.BENCH,
}


def run(name: str, options: Mapping[str, str], progress: Progress = lambda line: None) -> dict:
    """Run a bench with its options as text; returns the JSON object. Raises SettingsError, ServiceError."""
    return _run(BENCHES, name, options, progress)
