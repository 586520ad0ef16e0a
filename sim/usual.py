"""What is usual on each edge: flow in the busiest hour and the speed that drivers make of the limit. Pure.

Told from the population's own choice of ways, so that live figures and backfilled history agree.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from sim.flows import USUAL_FACTOR, Stream
from sim.population import Grounds, Population
from sim.roads import Roads
from sim.vehicles import KINDS, kind_shares

SAMPLED, TRIPS_EACH = 500, 4
OWN_FACTOR = 0.965  # drivers hold each other up a little even on a free road


def flows_vph(
    roads: Roads, people: Population, streams: Sequence[Stream], grounds: Grounds, *, vehicles: int
) -> dict[str, float]:
    """Vehicles per hour of each edge in the busiest hour, for so many ordinary vehicles beside the streams.

    `people`: a population of its own for sampling, which is spent afterwards.
    """
    local = grounds.local_share if grounds.local else 0.0
    passes, seconds = people.sample(SAMPLED, TRIPS_EACH)
    flows = {edge: vehicles * (1.0 - local) * passes.get(edge, 0) / seconds * 3600.0 for edge in roads.edges}
    for beat in grounds.local:
        per_beat = vehicles * local / len(grounds.local)
        vph = per_beat * beat.limit_kmh * USUAL_FACTOR * 1e3 / (2.0 * beat.length_m)
        for way in beat.ways:
            for edge in way.route:
                covered = min(1.0, beat.length_m / roads.edges[edge].length_m)
                flows[edge] += vph * covered
    for stream in streams:
        for edge in stream.route:
            flows[edge] += stream.per_h
    return flows


def speeds_kmh(limit_kmh: np.ndarray, heavy_share: float) -> np.ndarray:
    """Mean speed of passing vehicles on free roads with these limits."""
    shares = kind_shares(heavy_share)
    found = np.zeros(len(limit_kmh))
    for kind, share in zip(KINDS, shares, strict=True):
        found += share * np.minimum(limit_kmh * kind.factor[0], kind.speed_kmh_max)
    return found * OWN_FACTOR


def busy(flows: Mapping[str, float], lengths_m: Mapping[str, float]) -> dict[str, float]:
    """How many vehicles an edge has at a time, more or less: where something happens."""
    found: dict[str, float] = defaultdict(float)
    for edge, vph in flows.items():
        found[edge] = vph * lengths_m[edge]
    return found
