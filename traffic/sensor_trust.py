"""What is known of checkpoints, read for the rules: the monitor's word on their health, and people's verdicts."""

from datetime import timedelta

import psycopg

from traffic.clock import SHANGHAI
from traffic.store import SQL, when
from traffic.vehicles.trust import VERDICT_DAYS, Record, Trust


def load_trust(connection: psycopg.Connection, *, now_us: int) -> Trust:
    """Trust of every checkpoint of which something is known."""
    since = when(now_us).astimezone(SHANGHAI).date() - timedelta(days=VERDICT_DAYS)
    rows = connection.execute(SQL["checkpoint_records"], {"since": since})
    return Trust.of_records(
        {gate: Record(health=health, valid=valid, misread=misread) for gate, health, valid, misread in rows}
    )
