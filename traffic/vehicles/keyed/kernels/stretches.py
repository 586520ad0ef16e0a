"""Kernel of permitted routes."""

import numpy as np

from traffic.vehicles.compiled import flags, kernel, read, real

INDEX = read(np.int64, layout="A")


@kernel(flags, INDEX, read(np.int64, 2), INDEX, INDEX, INDEX, INDEX, real)
def on_stretch(first, stretches, number, road, stake_m, direction, margin_m):  # noqa: PLR0913 - a kernel's columns
    """Which places lie on a stretch of the permit beside them, or so near to its ends."""
    on = np.zeros(len(number), np.bool_)
    for at in range(len(number)):
        for one in range(first[number[at]], first[number[at] + 1]):
            here = stretches[one, 0] == road[at]
            here &= stretches[one, 1] - margin_m <= stake_m[at] <= stretches[one, 2] + margin_m
            here &= stretches[one, 3] == 0 or direction[at] == 0 or stretches[one, 3] == direction[at]
            on[at] |= here
    return on
