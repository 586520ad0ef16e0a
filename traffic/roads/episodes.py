"""What events on the roads have in common: an identity from the anchor of the episode, a span of stakes, revisions."""

from hashlib import blake2b
from uuid import UUID

import numpy as np

from traffic.roads.model import EventKind


def event_id(kind: EventKind, *anchor: int | str) -> UUID:
    """The same for the same kind and anchor, whatever the rule's version or the hour of the judgement."""
    text = "\0".join((kind.value, *map(str, anchor)))
    return UUID(bytes=blake2b(text.encode(), digest_size=16).digest())


def stake_at(from_stake_m: np.ndarray, to_stake_m: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Stake (float) at a share 0..1 of a link in its direction of travel."""
    return from_stake_m + (to_stake_m - from_stake_m) * share


def faded(confidence: np.ndarray, age_s: np.ndarray, half_s: float) -> np.ndarray:
    """A confidence halves with each `half_s` that its data grows older."""
    return confidence * np.exp2(-np.maximum(age_s, 0.0) / half_s)


def pack(columns: dict[str, np.ndarray]) -> dict[str, tuple[str, bytes]]:
    """Columns as values for msgpack: type and bytes of each."""
    return {name: (column.dtype.str, column.tobytes()) for name, column in columns.items()}


def unpack(data: dict[str, tuple[str, bytes]]) -> dict[str, np.ndarray]:
    """What `pack` was given; arrays of one's own, to be written to."""
    return {name: np.frombuffer(raw, np.dtype(kind)).copy() for name, (kind, raw) in data.items()}
