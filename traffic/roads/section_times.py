"""Travel times of sections, cleaned of those who stopped on the way, shared out over links."""

from dataclasses import dataclass

import numpy as np

from traffic.limits import CYCLE_S, SECTION_TRAVEL_MAX_S, TRAVEL_WINDOW_S
from traffic.roads.model import RoadNetwork, Sections

LATE_S = 300  # of the window, enough where a few vehicles came in it
QUICK = 0.3  # quantile of those who surely did not stop
STOP_S = 60.0  # a difference that is no stop, however short the section
FAST_SHARE = 0.5  # of the free time: nobody is quicker, a plate was misread


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionTimes:
    """What sections say of each link; NaN and 0 where they say nothing."""

    pace: np.ndarray  # times free flow
    spread: np.ndarray  # nine of ten are quicker than so many times the median
    confidence: np.ndarray
    observed_us: np.ndarray


def share_out(  # noqa: PLR0913 - one argument for each thing that it rests on
    network: RoadNetwork,
    sections: Sections,
    travel: np.ndarray,
    free_kmh: np.ndarray,
    limits: tuple[float, int],
    *,
    now_us: int,
) -> SectionTimes:
    """Pace of each section's vehicles, over its links. `limits`: (share of a stop, how many vehicles are few)."""
    links, many = len(network), len(sections)
    if not many:
        nothing = np.full(links, np.nan)
        return SectionTimes(
            pace=nothing, spread=nothing, confidence=np.zeros(links), observed_us=np.zeros(links, np.int64)
        )
    of = np.repeat(np.arange(many), np.diff(sections.start))
    covered = np.minimum(sections.weight_m, np.maximum(network.length_m[sections.link], 1.0))
    free_s = np.bincount(of, covered * 3.6 / free_kmh[sections.link], many)
    on_links_m = np.bincount(of, covered, many)
    with np.errstate(invalid="ignore", divide="ignore"):
        free_s *= np.where(on_links_m > 0, sections.length_m / on_links_m, np.nan)
    median, spread, count, observed = _robust(sections, travel, free_s, limits, now_us=now_us)
    few = limits[1]
    pace = median / free_s
    # What the quickest measured began so long ago: in a change, a long trip says what was.
    quality = (1.0 - np.exp2(-count / (few / 2))) * np.exp2(-np.nan_to_num(median) / 1_200.0)
    share = covered / np.maximum(network.length_m[sections.link], 1.0)
    weight = np.where(np.isnan(pace), 0.0, quality)[of] * share
    total = np.bincount(sections.link, weight, links)

    def mean(values: np.ndarray) -> np.ndarray:
        held = np.where(np.isnan(values)[of], 0.0, weight)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.bincount(sections.link, np.nan_to_num(values)[of] * held, links) / np.bincount(
                sections.link, held, links
            )

    newest = np.zeros(links, np.int64)
    np.maximum.at(newest, sections.link, np.where(weight > 0, observed[of], 0))
    return SectionTimes(
        pace=mean(pace), spread=mean(spread), confidence=np.minimum(total, 1.0) * 0.8, observed_us=newest
    )


def _robust(
    sections: Sections, travel: np.ndarray, free_s: np.ndarray, limits: tuple[float, int], *, now_us: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Median, spread, count and newest end of each section's vehicles that did not stop."""
    stop_share, few = limits
    many = len(sections)
    order = np.argsort(sections.id, kind="stable")
    row = order[np.minimum(np.searchsorted(sections.id[order], travel["section"]), many - 1)]
    ends = travel["bucket"] + CYCLE_S * 1_000_000
    age_s = (now_us - ends) / 1e6
    seconds = travel["seconds"]
    good = (age_s >= 0) & (age_s < TRAVEL_WINDOW_S) & (seconds > 0) & (seconds <= SECTION_TRAVEL_MAX_S)
    good &= (sections.id[row] == travel["section"]) & (seconds >= FAST_SHARE * free_s[row])
    row, seconds, ends, age_s = row[good], seconds[good], ends[good], age_s[good]
    late = np.bincount(row[age_s < LATE_S], minlength=many) >= few
    chosen = (age_s < LATE_S) | ~late[row]
    row, seconds, ends = row[chosen], seconds[chosen], ends[chosen]
    order = np.lexsort([seconds, row])
    row, seconds, ends = row[order], seconds[order], ends[order]
    quick = _quantile(seconds, row, many, QUICK)
    going = seconds <= np.maximum(quick * stop_share, quick + STOP_S)[row]
    row, seconds, ends = row[going], seconds[going], ends[going]
    median, p90 = _quantile(seconds, row, many, 0.5), _quantile(seconds, row, many, 0.9)
    count = np.bincount(row, minlength=many)
    newest = np.zeros(many, np.int64)
    np.maximum.at(newest, row, ends)
    with np.errstate(invalid="ignore"):
        spread = np.where(count >= few, p90 / median, np.nan)
    return median, spread, count, newest


def _quantile(values: np.ndarray, row: np.ndarray, many: int, share: float) -> np.ndarray:
    """Of each row's values, which are sorted by (row, value); NaN where there are none."""
    count = np.bincount(row, minlength=many)
    start = np.cumsum(count) - count
    place = np.maximum(count - 1, 0) * share
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, np.maximum(count - 1, 0))
    padded = np.append(values, np.nan)
    last = len(values)
    at_low, at_high = np.where(count > 0, start + low, last), np.where(count > 0, start + high, last)
    return padded[at_low] + (padded[at_high] - padded[at_low]) * (place - low)
