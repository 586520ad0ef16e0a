"""How well rules find what happened (`traffic evaluate NAME --json`), on labelled data, beside a plain method."""

from collections.abc import Mapping

import dashboards.evaluate.incidents as incidents
import dashboards.evaluate.links as links
import dashboards.evaluate.rules as rules
import dashboards.evaluate.section_speed as section_speed
from dashboards.bench.measured import Measurement, Progress, as_text
from dashboards.bench.measured import run as _run

__all__ = ["EVALUATIONS", "as_text", "run"]

EVALUATIONS: dict[str, Measurement] = {
    "incidents": incidents.EVALUATION,
    "links": links.EVALUATION,
    "rules": rules.EVALUATION,
    "section_speed": section_speed.EVALUATION,
}


def run(name: str, options: Mapping[str, str], progress: Progress = lambda line: None) -> dict:
    """Run an evaluation with its options as text; returns the JSON object. Raises SettingsError."""
    return _run(EVALUATIONS, name, options, progress)
