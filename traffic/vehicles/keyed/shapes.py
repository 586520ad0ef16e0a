"""The shapes of what is remembered of a registered vehicle: sightings, accumulators, evidence, and what rules say.

A sighting is a passage, a position, an alarm of the terminal, or a mark: a moment at which a tick found a timer run
out. Which rule of each kind speaks of a sighting is decided when it comes and stands in it, as what its place is like.
"""

from typing import NamedTuple

import numpy as np

PASSAGE, POSITION, ALARM, MARK = 0, 1, 2, 3  # kinds of sightings; at one moment they are taken in this order

SIGHTING = np.dtype(
    [
        ("at", "<i8"),  # microseconds UTC
        ("source", "<i8"),  # identity beside the time: source_hash of a passage, a number of its content else
        ("lon_e6", "<i4"),  # WGS-84, 1e-6 degrees; both 0: nowhere
        ("lat_e6", "<i4"),
        ("road", "<i4"),  # 0: off the known roads
        ("stake_m", "<i4"),
        ("unit", "<i4"),  # owner of the road there
        ("checkpoint", "<i4"),  # of a passage
        ("value", "<u4"),  # of an alarm its bits; of a passage the seconds within which the next one is due, 0 none
        ("speed_kmh", "<f4"),  # NaN: not told
        ("limit_kmh", "<i2"),  # of the road there; 0: not known
        ("kind", "u1"),
        ("direction", "u1"),
        ("lane", "u1"),
        ("flags", "u1"),
        ("driving_rule", "<u2"),  # number of the rule that speaks of this sighting; 0: none
        ("night_rule", "<u2"),
        ("overspeed_rule", "<u2"),
        ("stop_rule", "<u2"),
        ("route_rule", "<u2"),
        ("overdue_rule", "<u2"),
        ("mismatch_rule", "<u2"),
        ("alarm_rule", "<u2"),
        ("fence_a", "<u2"),  # nearest fence that a rule is about, inside or within its margin; 0: none
        ("fence_a_rule", "<u2"),
        ("fence_a_m", "<i2"),  # metres to its border, negative inside
        ("fence_b", "<u2"),  # the next one
        ("fence_b_rule", "<u2"),
        ("fence_b_m", "<i2"),
        ("spare", "<u2"),
    ]
)
# Flags of a sighting.
STANDING_MATTERS = 1  # here a vehicle must not stand
ROUTE_KEPT, ROUTE_LEFT, ROUTE_HOURS, ROUTE_NONE = 2, 4, 8, 16  # permitted; off the roads, the hours; no permit at all
QUIET = 32  # of a mark: what should see the vehicle next is not heard of

# Places of evidence: copies of sightings that accumulators rest on.
(LAST_PASSAGE, LAST_POSITION, DRIVE_FIRST, DRIVE_BEFORE, NIGHT_FIRST, OVER_FIRST, OVER_PEAK, STOP_FIRST, FENCE_A_FIRST,
 FENCE_B_FIRST, ROUTE_FIRST, WAITING, MISMATCH_FIRST, SILENT_FIRST, ALARM_FIRST) = range(15)  # fmt: skip
ALARMS = 4  # episodes of alarm bits at a time; with a fifth the one that is longest silent is forgotten
EVIDENCE = ALARM_FIRST + ALARMS

MEMORY = np.dtype(
    [
        ("last_is", "u1"),  # which evidence is the newest with a place: 0 none, 1 LAST_PASSAGE, 2 LAST_POSITION
        # driving_time: the driving period that is open
        ("exceeded", "u1"),  # bits of the limits that were told
        ("told_steps", "<u2"),
        ("drive_rule", "<u2"),
        ("night_rule", "<u2"),
        ("drive_from", "<i8"),  # 0: none
        ("drive_to", "<i8"),  # last moment of driving
        ("driven_s", "<f8"),
        ("night_s", "<f8"),
        ("blind_s", "<f8"),  # of it between sightings that lie far apart
        ("idle_s", "<f8"),  # standing since
        ("total_s", "<f8"),  # driven ever
        ("look_day_s", "<f8"),  # total at which the sum of 24 h can be over its limit at the earliest
        ("look_week_s", "<f8"),
        ("day_s", "<f8"),  # the sums when they were last looked at
        ("week_s", "<f8"),
        ("periods", "<i8"),  # ever closed
        # night_running
        ("night_day", "<i4"),
        ("night_seen", "<i4"),
        ("night_next", "<i8"),
        # overspeed
        ("over_from", "<i8"),
        ("over_to", "<i8"),
        ("over_peak", "<f4"),  # speed over limit
        ("over_rule", "<u2"),
        ("over_told", "u1"),
        ("over_seen", "u1"),  # positions of it, at most 255
        # long_stop
        ("stop_told", "u1"),
        ("stop_rule", "<u2"),
        ("stop_from", "<i8"),
        ("stop_to", "<i8"),
        ("stop_due", "<i8"),  # when a silent terminal lets it be told; 0: no timer
        # geofence
        ("fence_a", "<u2"),
        ("fence_b", "<u2"),
        ("fence_a_rule", "<u2"),
        ("fence_b_rule", "<u2"),
        ("fence_a_told", "u1"),
        ("fence_b_told", "u1"),
        ("fence_a_from", "<i8"),
        ("fence_b_from", "<i8"),
        ("fence_a_due", "<i8"),
        ("fence_b_due", "<i8"),
        # route_deviation
        ("off_from", "<i8"),
        ("off_to", "<i8"),
        ("off_rule", "<u2"),
        ("off_why", "u1"),
        ("off_told", "u1"),
        # overdue_arrival
        ("due_told", "u1"),
        ("due_rule", "<u2"),
        ("due_at", "<i8"),
        ("due_s", "<i8"),
        # position_mismatch
        ("waiting", "u1"),
        ("mismatches", "<i4"),
        ("mismatch_at", "<i8"),
        ("mismatch_rule", "<u2"),
        ("silent_passages", "<i4"),
        # device_alarm
        ("alarm_bit", "u1", (ALARMS,)),  # bit + 1; 0: free
        ("alarm_from", "<i8", (ALARMS,)),
        ("alarm_to", "<i8", (ALARMS,)),
        ("alarm_next", "<i8", (ALARMS,)),
    ]
)
PERIODS = 64  # driving periods remembered of each vehicle: seven days hold more only where nobody ever rests
PERIODS_COUNTED = PERIODS - 8  # the oldest may be written over by a head that is ahead of what is settled
PERIOD = np.dtype([("from_s", "<u4"), ("to_s", "<u4"), ("driven_s", "<f4")])  # seconds since 1970

# What rules say, by kind of rule.
(DRIVING, NIGHT, OVERSPEED, STOP, FENCE, ROUTE, OVERDUE, ALARM_BIT, MISMATCH) = range(9)
DIRECT, BEFORE, AFTER, SETTLED = 0, 1, 2, 3  # told as it came; said of a vehicle's sightings before, after late ones
EVENT = np.dtype(
    [
        ("vehicle", "<i8"),  # number of the vehicle in the batch
        ("anchor", "<i8"),
        ("anchor_more", "<i8"),
        ("rule", "<u2"),
        ("kind", "u1"),
        ("side", "u1"),
        ("over", "u1"),  # the episode has ended
        ("proofs", "u1"),  # sightings that it rests on, in the row of the same number beside
        ("spare", "<u2"),
        ("a", "<f8"),  # numbers; what they are is the rule's matter
        ("b", "<f8"),
        ("c", "<f8"),
        ("d", "<f8"),
        ("e", "<f8"),
        ("f", "<f8"),
    ]
)
PROOFS = 3

PENDING_MAX = 128  # sightings of one vehicle that wait for late ones
POSITION_SLOT_US = 8_000_000  # of positions the first of each such slot counts: 15 minutes hold 113
ALARM_SLOT_US = 60_000_000  # of alarms with the same bits the first of each minute
EVENTS_OF_SIGHTING_MAX = 16  # more than all rules together can say of one
PARAMETERS = 12  # numbers of one rule that the kernels know


# ---------------------------------------------------------------- what kernels are handed
class Out(NamedTuple):
    """`written`: [events written, number of the vehicle that speaks, side]."""

    events: np.ndarray
    proofs: np.ndarray
    written: np.ndarray


class Ways(NamedTuple):
    """The usual times as kernels know them: checkpoints ascending, matrices by their places."""

    checkpoints: np.ndarray
    median_s: np.ndarray
    spread: np.ndarray


class Rules(NamedTuple):
    """`row_of`: where the numbers of a rule stand, by its own number; -1: not armed, and of number 0."""

    row_of: np.ndarray
    numbers: np.ndarray


class Store(NamedTuple):
    """The columns of KeyedState, one row a vehicle. `pending`: of all; `held` of each from its `start` on."""

    head: np.ndarray
    head_evidence: np.ndarray
    settled: np.ndarray
    settled_evidence: np.ndarray
    periods: np.ndarray
    pending: np.ndarray
    start: np.ndarray
    held: np.ndarray
    settled_to: np.ndarray
    due: np.ndarray  # when the first timer runs out; 0: none
    gate: np.ndarray  # checkpoint * 4 + direction of a vehicle that is expected at the next one; 0: none


class Fresh(NamedTuple):
    """Sightings of a batch by vehicle: those of the n-th, in row `rows[n]`, are `first[n]` .. `first[n + 1]`.

    `fate`: what became of each: 0 known, or not the first of its slot, 1 taken, 2 in the place of `displaced`.
    """

    sightings: np.ndarray
    first: np.ndarray
    rows: np.ndarray
    fate: np.ndarray
    displaced: np.ndarray


def room_for(events: int) -> Out:
    """An empty place for so many events."""
    return Out(
        events=np.zeros(events, EVENT),
        proofs=np.zeros((events, PROOFS), SIGHTING),
        written=np.zeros(3, np.int64),
    )
