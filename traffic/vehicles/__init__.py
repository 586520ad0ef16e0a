"""Rules on the passage stream: pure functions over columnar state and batches of passages.

`judge` is what a worker calls for new records: it says what they come to, and takes the records into the state.
"""

from traffic.vehicles.batch import Verdict, absorb, judge, judge_batch
from traffic.vehicles.rules import RuleBook, build_rulebook

__all__ = ["RuleBook", "Verdict", "absorb", "build_rulebook", "judge", "judge_batch"]
