"""The kernel of section speed: for each vehicle the pairs of entry and exit that a batch brings or changes."""

import numpy as np

from traffic.limits import RING_OBSERVATIONS
from traffic.vehicles.compiled import kernel, nothing, numbers, part, rows_of, together
from traffic.vehicles.ring_kernels import FRESH, is_in_order, keep_newest, unite, unroll
from traffic.vehicles.section_speed import CAUSE, ENTRY, EXIT, FACTS, JUDGEMENTS, SAID, SECTION, Columns, Told
from traffic.vehicles.state import OBSERVATION
from traffic.vehicles.travel_time import TRAVEL_FACT

RING = RING_OBSERVATIONS
NONE = -1
COLUMNS = together(Columns, rows_of(SECTION), numbers, numbers, numbers)
TOLD = together(Told, rows_of(SAID), rows_of(OBSERVATION, 2), rows_of(TRAVEL_FACT), numbers)


@part
def sections_at(columns, checkpoint):
    """Which part of `section_of` names the sections that begin or end at a checkpoint."""
    ends, low, high = columns.ends, 0, len(columns.ends)
    while low < high:
        middle = (low + high) // 2
        if ends[middle] < checkpoint:
            low = middle + 1
        else:
            high = middle
    if low == len(ends) or ends[low] != checkpoint:
        return 0, 0
    return columns.first_of[low], columns.first_of[low + 1]


@part
def tell_fact(told, section, entry, leaving, sign):
    """A travel time came (1) or went (-1), if it is one."""
    travel_us = leaving.observed_at - entry.observed_at
    if section.travel_min_us <= travel_us <= section.travel_max_us:
        if told.counts[FACTS] < len(told.facts):
            fact = told.facts[told.counts[FACTS]]
            fact.exit_at, fact.travel_us, fact.section, fact.sign = leaving.observed_at, travel_us, section.id, sign
        told.counts[FACTS] += 1


@part
def is_broken(section, entry, leaving):
    """Whether the time between two readings is a finding."""
    return section.travel_min_us <= leaving.observed_at - entry.observed_at <= section.broken_max_us


# ---------------------------------------------------------------- newer than all that is held: only its own pair is new
@part
def judge_newest(vehicle, ring, came, at, section, told):
    """The pair that observation `at` closes, which is at the end of a section."""
    i, back = at - 1, vehicle.count - 1
    for _ in range(RING):
        if i >= 0:
            earlier = came[i]
            i -= 1
        elif back >= 0:
            earlier = ring[(vehicle.start + back) % RING]
            back -= 1
        else:
            return
        if earlier.checkpoint == section.end:
            return
        if earlier.checkpoint == section.start:
            tell_fact(told, section, earlier, came[at], 1)
            if is_broken(section, earlier, came[at]):
                if told.counts[JUDGEMENTS] < len(told.said):
                    word, shown = told.said[told.counts[JUDGEMENTS]], told.shown[told.counts[JUDGEMENTS]]
                    word.key, word.section, word.has_entry, word.has_cause = vehicle.key, section.number, True, False
                    shown[EXIT] = came[at]
                    shown[ENTRY] = earlier
                told.counts[JUDGEMENTS] += 1
            return


# ---------------------------------------------------------------- late: all pairs, with and without what is fresh
@part
def entry_of(both, fresh, at, section, with_fresh):
    """The reading at the begin that an exit belongs to: the last at either end before it, if that is the begin."""
    for i in range(at - 1, -1, -1):
        if fresh[i] and not with_fresh:
            continue
        if both[i].checkpoint == section.end:
            return NONE
        if both[i].checkpoint == section.start:
            return i
    return NONE


@part
def end_before(both, at, section):
    """The last reading at either end before `at`: the one that came between."""
    for i in range(at - 1, -1, -1):
        if both[i].checkpoint == section.start or both[i].checkpoint == section.end:
            return i
    return NONE


@part
def judge_exit(key, both, fresh, at, section, told):
    """What is said of one exit, where it is other than without what is fresh."""
    now = entry_of(both, fresh, at, section, True)
    before = NONE if fresh[at] else entry_of(both, fresh, at, section, False)
    if now != before:
        if before >= 0:
            tell_fact(told, section, both[before], both[at], -1)
        if now >= 0:
            tell_fact(told, section, both[now], both[at], 1)
    if now >= 0 and not is_broken(section, both[now], both[at]):
        now = NONE
    if before >= 0 and not is_broken(section, both[before], both[at]):
        before = NONE
    if now == before:
        return
    if told.counts[JUDGEMENTS] < len(told.said):
        cause = NONE if fresh[at] else end_before(both, at, section)
        word, shown = told.said[told.counts[JUDGEMENTS]], told.shown[told.counts[JUDGEMENTS]]
        word.key, word.section, word.has_entry, word.has_cause = key, section.number, now >= 0, cause >= 0
        shown[EXIT] = both[at]
        shown[ENTRY] = both[max(now, 0)]
        shown[CAUSE] = both[max(cause, 0)]
    told.counts[JUDGEMENTS] += 1


@part
def is_touched_before(columns, both, fresh, at, number):
    """Whether a fresh observation before `at` touches this section as well."""
    for i in range(at):
        if fresh[i]:
            low, high = sections_at(columns, both[i].checkpoint)
            for place in range(low, high):
                if columns.section_of[place] == number:
                    return True
    return False


@part
def judge_mixed(key, both, fresh, n, columns, told):
    """Each section that something fresh touches, once: all its exits among a vehicle's observations."""
    for at in range(n):
        if not fresh[at]:
            continue
        low, high = sections_at(columns, both[at].checkpoint)
        for place in range(low, high):
            number = columns.section_of[place]
            if is_touched_before(columns, both, fresh, at, number):
                continue
            section = columns.table[number]
            for leaving in range(n):
                if both[leaving].checkpoint == section.end:
                    judge_exit(key, both, fresh, leaving, section, told)


@kernel(nothing, FRESH, COLUMNS, TOLD)
def judge(batch, columns, told):
    """What a batch changes over the sections."""
    held = np.empty(RING, OBSERVATION)
    both, fresh = np.empty(2 * RING, OBSERVATION), np.empty(2 * RING, np.bool_)
    for v in range(len(batch.who)):
        vehicle, ring = batch.vehicles[batch.who[v]], batch.rings[batch.who[v]]
        came = batch.seen[batch.first[v] : batch.first[v + 1]]
        if is_in_order(vehicle, came):
            for at in range(len(came)):
                low, high = sections_at(columns, came[at].checkpoint)
                for place in range(low, high):
                    number = columns.section_of[place]
                    if columns.table[number].end == came[at].checkpoint:
                        judge_newest(vehicle, ring, came, at, columns.table[number], told)
            continue
        count = unroll(vehicle, ring, held)
        for begin in range(0, len(came), RING):
            n = unite(held, count, came[begin : begin + RING], both, fresh)
            judge_mixed(vehicle.key, both, fresh, n, columns, told)
            count = keep_newest(both, n, held)
