"""Usual times out of what is known of the roads: the links' speeds by the hour along the quickest way, and what was
measured between two checkpoints where it was.

A gate stands over both directions and whoever passes it may turn there: so a way is never thought longer than it is.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from traffic.network import STAKES_INCREASE, Link
from traffic.vehicles.checkpoints import Checkpoints
from traffic.vehicles.usual_times import HOURS, QUICK_TURNS, USUAL

SPREAD_MIN = 0.05  # no road is so even that its drivers differ by less
FREE_SHARE = 0.95  # of the limit: where nothing is known of a link's speed
STRAIGHT_KMH, STRAIGHT_SPREAD = 80.0, 0.25  # as the crow flies, where no way is known
SPEED_SHARE_MAX = 1.25  # of the limit: a link's median above it is a fault of its sensors
_EARTH_M = 6_371_008.8


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSpeeds:
    """By link (in the order of the links) and local hour: `median_kmh`, NaN where nothing is known, and `spread`."""

    median_kmh: np.ndarray
    spread: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Edges from node to node, by where they begin; each is a share of a link. `places`: nodes of checkpoints."""

    first_of: np.ndarray
    to: np.ndarray
    link: np.ndarray  # number of each edge's link
    share: np.ndarray
    places: np.ndarray


def graph_of(links: Sequence[Link], checkpoints: Checkpoints) -> Graph:
    """The links, cut where a checkpoint stands over them."""
    gates: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, row in enumerate(checkpoints.rows):
        gates[int(row["road"])].append((int(row["stake_m"]), number))
    node_of: dict[int, int] = {}
    edges: list[tuple[int, int, int, float]] = []
    count = len(checkpoints)
    for number, link in enumerate(links):
        ends = []
        for node in (link.from_node, link.to_node):
            if node == 0 or node not in node_of:  # 0 meets nothing
                node_of[node] = count
                count += 1
            ends.append(node_of[node])
        points = [(0.0, ends[0]), *_on_link(link, gates[link.road_id]), (1.0, ends[1])]
        edges += [
            (here, there, number, max(0.0, end - begin))
            for (begin, here), (end, there) in zip(points, points[1:], strict=False)
        ]
    table = np.array(edges, np.float64).reshape(-1, 4)
    table = table[np.argsort(table[:, 0], kind="stable")]
    begin, to, link_of = (table[:, column].astype(np.int64) for column in range(3))
    first_of = np.searchsorted(begin, np.arange(count + 1)).astype(np.int64)
    places = np.arange(len(checkpoints), dtype=np.int64)
    return Graph(first_of=first_of, to=to, link=link_of, share=np.ascontiguousarray(table[:, 3]), places=places)


def _on_link(link: Link, gates: list[tuple[int, int]]) -> list[tuple[float, int]]:
    """Share of the link's length, and node, of each checkpoint on it, in the direction of travel."""
    low, high = sorted((link.from_stake_m, link.to_stake_m))
    span = max(1, high - low)
    forward = link.direction == STAKES_INCREASE
    found = [
        ((stake - low) / span if forward else (high - stake) / span, node)
        for stake, node in gates
        if low <= stake <= high
    ]
    return sorted(found)


def composed(links: Sequence[Link], checkpoints: Checkpoints, speeds: LinkSpeeds, measured: np.ndarray) -> np.ndarray:
    """USUAL rows of every pair of checkpoints. `measured`: USUAL rows of pairs whose times were measured; NaN at hours
    of which nothing is known."""
    from traffic.vehicles import path_kernels

    graph = graph_of(links, checkpoints)
    length_m = np.array([link.length_m for link in links], np.float64)
    free_kmh = np.array([link.limit_kmh for link in links], np.float64) * FREE_SHARE
    kmh = _without_gaps(speeds.median_kmh, free_kmh)

    def least(costs: np.ndarray) -> np.ndarray:
        return path_kernels.between(graph.first_of, graph.to, costs[graph.link] * graph.share, graph.places)

    straight_m = _straight_m(checkpoints)
    distance_m = least(length_m)
    unknown = ~np.isfinite(distance_m)
    rows = np.zeros((len(checkpoints), len(checkpoints)), USUAL)
    ids = checkpoints.rows["id"]
    rows["from_checkpoint"], rows["to_checkpoint"] = ids[:, None], ids[None, :]
    rows["distance_m"] = np.where(unknown, straight_m, np.maximum(distance_m, straight_m))
    for hour in range(HOURS):
        link_s = length_m * 3.6 / kmh[:, hour]
        median_s, quick_s = least(link_s), least(link_s * np.exp(-QUICK_TURNS * speeds.spread[:, hour]))
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.log(median_s / quick_s) / QUICK_TURNS
        rows["median_s"][..., hour] = np.where(unknown, straight_m * 3.6 / STRAIGHT_KMH, median_s)
        rows["spread"][..., hour] = np.where(
            unknown | ~np.isfinite(spread), STRAIGHT_SPREAD, np.maximum(spread, SPREAD_MIN)
        )
    np.fill_diagonal(rows["distance_m"], 0)
    _put_measured(rows, checkpoints, measured)
    return rows[~np.eye(len(checkpoints), dtype=bool)]


def _without_gaps(kmh: np.ndarray, free_kmh: np.ndarray) -> np.ndarray:
    """Speeds of all hours: of an hour that is not known the link's mean of those that are, else its free speed."""
    known = np.isfinite(kmh) & (kmh > 0)
    sums, counts = np.where(known, kmh, 0.0).sum(axis=1), known.sum(axis=1)
    usual = np.where(counts > 0, sums / np.maximum(counts, 1), free_kmh)
    filled = np.where(known, kmh, usual[:, None])
    return np.clip(filled, 1.0, (free_kmh / FREE_SHARE * SPEED_SHARE_MAX)[:, None])


def _put_measured(rows: np.ndarray, checkpoints: Checkpoints, measured: np.ndarray) -> None:
    """What was measured takes the place of what was composed, hour by hour."""
    start, end = checkpoints.find(measured["from_checkpoint"]), checkpoints.find(measured["to_checkpoint"])
    for number in np.flatnonzero((start >= 0) & (end >= 0) & (start != end)).tolist():
        row, told = rows[start[number], end[number]], measured[number]
        known = np.isfinite(told["median_s"]) & (told["median_s"] > 0)
        row["median_s"][known] = told["median_s"][known]
        row["spread"][known] = np.maximum(told["spread"][known], SPREAD_MIN)
        row["distance_m"], row["samples"] = told["distance_m"], told["samples"]


def _straight_m(checkpoints: Checkpoints) -> np.ndarray:
    """Great-circle distances, of all pairs."""
    lon, lat = np.radians(checkpoints.rows["lon"]), np.radians(checkpoints.rows["lat"])
    half = np.sin((lat[:, None] - lat[None, :]) / 2) ** 2
    half += np.cos(lat)[:, None] * np.cos(lat)[None, :] * np.sin((lon[:, None] - lon[None, :]) / 2) ** 2
    return 2 * _EARTH_M * np.arcsin(np.minimum(1.0, np.sqrt(half)))
