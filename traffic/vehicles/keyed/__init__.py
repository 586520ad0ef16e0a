"""Registered vehicles: rules that need time, places and positions, as pure functions over columns.

`judge` is what a worker calls for new records, `tick` for the passing of time, `absorb` for records that were judged
before.
"""

from traffic.vehicles.keyed.judge import absorb, judge, tick
from traffic.vehicles.keyed.state import KeyedState

__all__ = ["KeyedState", "absorb", "judge", "tick"]
