"""`traffic replay`: stored data of an instance lived through once more, at any speed, in an instance beside it.

The shadow has its own data folder, database, bus and ports, and a clock that starts in the past; it takes network,
units, rules and people from the source, and the records come over its own bus in the order in which they once arrived.
The source is only read, and nothing leaves the shadow.
"""

from dashboards.shadow.replay import Wish, feed, read_moment, run

__all__ = ["Wish", "feed", "read_moment", "run"]
