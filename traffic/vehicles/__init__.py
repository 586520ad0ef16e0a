"""Rules on the passage stream: pure functions over columnar state and batches of passages.

`judge_batch` is what a worker calls for new records: it says what the rules say, and takes the records into the state.
"""

from traffic.vehicles.batch import absorb, judge_batch
from traffic.vehicles.rules import RuleBook, build_rulebook

__all__ = ["RuleBook", "absorb", "build_rulebook", "judge_batch"]
