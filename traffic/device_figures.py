"""How much each sender sends, and how late: one row for each device, hour and writer, in the transaction of a batch."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import psycopg

from traffic.database import queries

SQL = queries("traffic", "registry.sql")
HOUR_US = 3_600_000_000
SAMPLE = 1_000  # records of a batch whose lateness is looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Of one batch, by device: how many records, and the median of received minus observed, in seconds."""

    devices: np.ndarray  # int32, each once
    records: np.ndarray  # int64
    late_s: np.ndarray  # float64


def sent_by_device(rows: Iterable[np.ndarray]) -> Sent:
    """Figures of records in columns (`device`, `observed_at`, `received_at`), of several kinds together. Pure."""
    parts = [part for part in rows if len(part)]
    if not parts:
        return Sent(devices=np.empty(0, np.int32), records=np.empty(0, np.int64), late_s=np.empty(0))
    device = np.concatenate([part["device"] for part in parts])
    devices, first, records = np.unique(device, return_index=True, return_counts=True)
    # Each device's first record, and of all others as many as a median needs.
    sample = np.union1d(first, np.arange(0, len(device), len(device) // SAMPLE + 1))
    late_us = np.concatenate([part["received_at"] - part["observed_at"] for part in parts])[sample]
    order = np.lexsort((late_us, device[sample]))
    _, begin, count = np.unique(device[sample][order], return_index=True, return_counts=True)
    low, high = begin + (count - 1) // 2, begin + count // 2
    late_s = (late_us[order][low] + late_us[order][high]) / 2e6
    return Sent(devices=devices.astype(np.int32), records=records, late_s=late_s)


def store_sent(connection: psycopg.Connection, sent: Sent, *, received_us: int, slot: int) -> None:
    """Add a batch's figures, in the caller's transaction. `slot`: the writer's lowest partition, as in roll-ups."""
    if not len(sent.devices):
        return
    values = {
        "hour_us": received_us // HOUR_US * HOUR_US,
        "slot": slot,
        "devices": sent.devices.tolist(),
        "records": sent.records.tolist(),
        "sums": (sent.late_s * sent.records).tolist(),
    }
    connection.execute(SQL["sent_add"], values)
