"""What the roads are doing: link states, sensor health, congestion, incidents and risk, worked out each half minute.

Everything here is a pure function over columns: `cycle.turn` takes what came in and the time, and says what changed.
"""
