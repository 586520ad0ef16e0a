"""The kernel of cloned plates: for each vehicle the readings in conflict, and what explains them (see cloned_plate)."""

import math

import numpy as np

from traffic.limits import RING_OBSERVATIONS
from traffic.vehicles.cloned_plate import (
    CAUSE,
    CLOCK,
    CLOCK_FAULT_S,
    CLOCK_S,
    CLOCK_SHARE,
    CLONE,
    CLONE_SHARE,
    EARLIER,
    FAST,
    FAST_LOG,
    FAST_SHARE,
    FAST_SPREAD,
    LATER,
    LOOKS_CLONE,
    LOOKS_MISREAD,
    LOOKS_WRONG,
    MISREAD,
    MISREAD_AGAIN,
    MISREAD_DAY,
    MISREAD_NIGHT,
    PAIR,
    PROBABILITY_MIN,
    SUSPECT_SHARE,
    TURNS,
    Columns,
    Told,
)
from traffic.vehicles.compiled import flags, kernel, nothing, numbers, part, rows_of, together, types
from traffic.vehicles.index_kernels import slot_of
from traffic.vehicles.key_index import SLOT
from traffic.vehicles.ring_kernels import FRESH, is_in_order, keep_newest, unite, unroll
from traffic.vehicles.state import OBSERVATION
from traffic.vehicles.usual_times import EAST_OF_UTC_H, HOUR_US

RING = RING_OBSERVATIONS
NEAR = 3  # neighbours in time that speak, on each side
NIGHT_FROM, NIGHT_TO = 19, 6  # local hours in which cameras see worse
_ROOT = math.sqrt(2.0 * math.pi)
REALS = types.Array(types.float64, 1, "C")
SQUARE, CUBE = types.Array(types.float32, 2, "C"), types.Array(types.float32, 3, "C")
COLUMNS = together(Columns, rows_of(SLOT), SQUARE, SQUARE, CUBE, CUBE, flags, REALS, REALS)
TOLD = together(Told, rows_of(PAIR), rows_of(OBSERVATION, 2), numbers)


@part
def local_hour(at_us):
    """The hour of the day in China."""
    return (at_us // HOUR_US + EAST_OF_UTC_H) % 24


@part
def place_of(columns, seen):
    """The place of a reading's checkpoint in the matrices; negative where it has none."""
    return columns.slots[slot_of(columns.slots, seen.checkpoint)].row


@part
def is_conflict(columns, earlier, later):
    """Whether one vehicle cannot have been at both, but for one driver of a thousand."""
    return is_too_near(columns, place_of(columns, earlier), place_of(columns, later), earlier, later)


@part
def is_too_near(columns, start, end, earlier, later):
    """`is_conflict` of readings at these places."""
    if start == end or start < 0 or end < 0:
        return False
    gap_s = (later.observed_at - earlier.observed_at) * 1e-6 + columns.numbers[CLOCK_S]
    if not gap_s < columns.most_s[start, end]:
        return False
    hour = local_hour(earlier.observed_at)
    turns = columns.numbers[TURNS]
    return gap_s < columns.median_s[hour, start, end] * math.exp(-turns * columns.spread[hour, start, end])


@part
def bell(x, spread):
    """Density of the normal distribution."""
    return math.exp(-0.5 * (x / spread) * (x / spread)) / (spread * _ROOT)


@part
def one_vehicle(gap_s, median_s, spread, numbers):
    """Density of this gap for one vehicle that drives, against one anywhere within W."""
    gap = max(gap_s + numbers[CLOCK_S], 0.5)
    x = math.log(gap / median_s)
    usual = (1.0 - numbers[FAST_SHARE]) * bell(x, spread)
    fast = numbers[FAST_SHARE] * bell(x - numbers[FAST_LOG], numbers[FAST_SPREAD])
    return (usual + fast) / gap * (2.0 * median_s + 60.0)


@part
def wrong_clock(gap_s, median_s, spread, numbers):
    """Density of the clock's error that makes up for the gap, against one anywhere within W."""
    away = numbers[CLOCK_FAULT_S]
    return bell(median_s - gap_s, math.sqrt(away * away + spread * spread * median_s * median_s)) * (
        2.0 * median_s + 60.0
    )


@part
def errors_to(columns, key, at_us):
    """How many misread plates of other vehicles come to be read as this one, against its own readings."""
    hour = local_hour(at_us)
    share = columns.numbers[MISREAD_NIGHT if hour >= NIGHT_FROM or hour < NIGHT_TO else MISREAD_DAY]
    plate, length, total = key >> 3, 0, 0.0
    if plate <= 0:  # an odd text: nothing is known of its characters
        return share
    while plate > 0:
        total += columns.inflow[plate & 127]
        length += 1
        plate >>= 7
    return share * total / length


@part
def looks_differ(a, b):
    """1 where colour or class (its letter) of two readings differ, 0 where they agree, -1 where nothing is known."""
    agree = -1
    if a.body_color > 0 and b.body_color > 0:
        agree = 0 if a.body_color == b.body_color else 1
    if a.vehicle_class > 0 and b.vehicle_class > 0:
        if a.vehicle_class // 100 != b.vehicle_class // 100:
            agree = 1
        elif agree < 0:
            agree = 0
    return agree


@part
def pair_of(columns, earlier, later, pair):
    """The numbers of two readings in conflict."""
    start, end = place_of(columns, earlier), place_of(columns, later)
    hour = local_hour(earlier.observed_at)
    pair.hour = hour
    pair.gap_s = (later.observed_at - earlier.observed_at) * 1e-6
    pair.distance_m = columns.distance_m[start, end]
    pair.median_s = columns.median_s[hour, start, end]
    pair.fastest_s = pair.median_s * math.exp(-columns.numbers[TURNS] * columns.spread[hour, start, end])
    suspect = columns.suspects[start] or columns.suspects[end]
    spread = columns.spread[hour, start, end]
    share = columns.numbers[SUSPECT_SHARE if suspect else CLOCK_SHARE]
    return (
        one_vehicle(pair.gap_s, pair.median_s, spread, columns.numbers),
        share,
        wrong_clock(pair.gap_s, pair.median_s, spread, columns.numbers),
    )


@part
def one_vehicle_of(columns, earlier, later):
    """`one_vehicle` of two readings in conflict."""
    start, end = place_of(columns, earlier), place_of(columns, later)
    hour = local_hour(earlier.observed_at)
    gap_s = (later.observed_at - earlier.observed_at) * 1e-6
    return one_vehicle(gap_s, columns.median_s[hour, start, end], columns.spread[hour, start, end], columns.numbers)


@part
def weigh(columns, seen, at, pair):
    """What explains that reading `at` follows the one before it: fills the pair, which has its key already."""
    p = columns.numbers
    earlier, later = seen[at - 1], seen[at]
    fast, clock_share, clock = pair_of(columns, earlier, later, pair)
    by_earlier, by_later, again = 0, 0, 1.0
    for i in range(max(0, at - 1 - NEAR), min(len(seen), at + 1 + NEAR)):
        if i == at - 1 or i == at:
            continue
        other = seen[i]
        against_earlier = is_conflict(columns, other, earlier) if i < at else is_conflict(columns, earlier, other)
        against_later = is_conflict(columns, other, later) if i < at else is_conflict(columns, later, other)
        if against_later and not against_earlier:
            by_earlier += 1
            if i == at + 1:  # a single reading between two that belong together: fast there, and fast back
                again = one_vehicle_of(columns, later, other)
        elif against_earlier and not against_later:
            by_later += 1
            if i == at - 2:
                again = one_vehicle_of(columns, other, earlier)
    misread = p[MISREAD_AGAIN] ** by_earlier * errors_to(columns, pair.key, earlier.observed_at)
    misread += p[MISREAD_AGAIN] ** by_later * errors_to(columns, pair.key, later.observed_at)
    if by_earlier + by_later > 0:
        clock_share *= clock_share
    pair.weights[CLONE] = p[CLONE_SHARE]
    pair.weights[MISREAD] = misread
    pair.weights[CLOCK] = clock_share * clock
    pair.weights[FAST] = fast * min(again, 1.0)
    look(p, looks_differ(earlier, later), pair.weights)


@part
def look(p, differ, weights):
    """What the looks of two readings say of each explanation."""
    if differ == 1:
        weights[CLONE] *= p[LOOKS_CLONE]
        weights[MISREAD] *= p[LOOKS_MISREAD]
        weights[CLOCK] *= p[LOOKS_WRONG]
        weights[FAST] *= p[LOOKS_WRONG]
    elif differ == 0:
        weights[CLONE] *= 1.0 - p[LOOKS_CLONE]
        weights[MISREAD] *= 1.0 - p[LOOKS_MISREAD]
        weights[CLOCK] *= 1.0 - p[LOOKS_WRONG]
        weights[FAST] *= 1.0 - p[LOOKS_WRONG]


@part
def raise_each(columns, seen, pair, raised):
    """Of each reading whether it is told, together with the one before it, as a clone."""
    for at in range(len(seen)):
        raised[at] = False
        if at > 0 and is_conflict(columns, seen[at - 1], seen[at]):
            weigh(columns, seen, at, pair)
            raised[at] = pair.weights[CLONE] >= columns.numbers[PROBABILITY_MIN] * pair.weights.sum()


@part
def cause_of(fresh, n, at):
    """The fresh reading nearest to `at` in the order of time, the earlier one of two; itself where it is fresh."""
    for away in range(n):
        if at - away >= 0 and fresh[at - away]:
            return at - away
        if at + away < n and fresh[at + away]:
            return at + away
    return at


@part
def tell(columns, seen, fresh, at, pair, told):
    """One reading of which is said otherwise than before."""
    if told.counts[0] < len(told.pairs):
        word, shown = told.pairs[told.counts[0]], told.shown[told.counts[0]]
        cause = cause_of(fresh, len(seen), at)
        word.key, word.active, word.has_cause, word.is_late = pair.key, pair.active, cause != at, cause < at
        shown[LATER], shown[CAUSE] = seen[at], seen[cause]
        if word.active:
            shown[EARLIER] = seen[at - 1]
            weigh(columns, seen, at, word)
    told.counts[0] += 1


@part
def is_quiet(columns, vehicle, ring, came):
    """Whether no two neighbours that what came in order could speak of are in conflict."""
    earlier, start = came[0], -1
    for i in range(-min(vehicle.count, NEAR + 1), len(came)):  # below 0: of the ring, the newest at -1
        later = came[i] if i >= 0 else ring[(vehicle.start + vehicle.count + i) % RING]
        end = place_of(columns, later)
        if is_too_near(columns, start, end, earlier, later):
            return False
        earlier, start = later, end
    return True


@part
def tell_changes(columns, seen, fresh, raised, pair, told):
    """Readings that are told with what is fresh and not without it, with another one before them, or no longer."""
    old = 0
    for at in range(len(seen)):
        was, same = False, True
        if not fresh[at]:
            was = raised[0, old]
            same = at > 0 and not fresh[at - 1]
            old += 1
        if raised[1, at] != was or (raised[1, at] and not same):
            pair.active = raised[1, at]
            tell(columns, seen, fresh, at, pair, told)


@kernel(nothing, FRESH, COLUMNS, TOLD)
def judge(batch, columns, told):
    """What a batch changes of what is said."""
    held, both = np.empty(RING, OBSERVATION), np.empty(2 * RING, OBSERVATION)
    fresh, raised = np.empty(2 * RING, np.bool_), np.empty((2, 2 * RING), np.bool_)  # before, now
    pair = np.empty(1, PAIR)[0]
    for v in range(len(batch.who)):
        vehicle, ring = batch.vehicles[batch.who[v]], batch.rings[batch.who[v]]
        came = batch.seen[batch.first[v] : batch.first[v + 1]]
        if is_in_order(vehicle, came) and is_quiet(columns, vehicle, ring, came):
            continue
        count = unroll(vehicle, ring, held)
        pair.key = vehicle.key
        for begin in range(0, len(came), RING):
            n = unite(held, count, came[begin : begin + RING], both, fresh)
            raise_each(columns, held[:count], pair, raised[0])
            raise_each(columns, both[:n], pair, raised[1])
            tell_changes(columns, both[:n], fresh, raised, pair, told)
            count = keep_newest(both, n, held)
