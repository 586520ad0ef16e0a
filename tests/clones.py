"""A road of four checkpoints for tests of cloned plates, each 10 km from the next, and how long that takes."""

from dataclasses import replace
from typing import Any

import numpy as np

from tests.sightings import UNITS, A, B, C, D
from traffic.vehicles import RuleBook, build_rulebook
from traffic.vehicles.cloned_plate import from_parameters
from traffic.vehicles.ground import Ground
from traffic.vehicles.terms import RuleTerms, parse_terms
from traffic.vehicles.usual_times import HOURS, UsualTimes

JAM_HOUR = 8  # local; everything takes four times as long
RULE = {"id": 3, "version": 2, "kind": "cloned_plate", "name": "套牌嫌疑", "clause": "条款三"}


def usual_times(spread: float = 0.12) -> UsualTimes:
    """Six minutes (100 km/h) from one to the next, all hours but one."""
    places = np.arange(4)
    legs = np.abs(places[:, None] - places[None, :])
    median = np.tile((360.0 * legs).astype(np.float32), (HOURS, 1, 1))
    median[JAM_HOUR] *= 4
    return UsualTimes(
        checkpoints=np.array([A, B, C, D], np.int64),
        distance_m=(10_000.0 * legs).astype(np.float32),
        median_s=median,
        spread=np.full_like(median, spread),
    )


def clone_terms(scope: dict | None = None, **parameters: Any) -> RuleTerms:
    """The rule as a row, everywhere and for everybody unless told otherwise."""
    return parse_terms({**RULE, "scope": scope or {}, "parameters": parameters}, from_parameters, Ground())


def clone_book(terms: RuleTerms | None = None, sections: tuple = (), rules: tuple = (), **given: Any) -> RuleBook:
    """A rule book with the clone rule over this road."""
    book = build_rulebook(
        entries=(), sections=sections, rules=rules, audience_of_checkpoint=UNITS, terms=(terms or clone_terms(),)
    )
    return replace(book, **{"usual": usual_times(), **given})
