"""The one exception root, and the closed list of reasons why a record is refused."""

from enum import StrEnum


class TrafficError(Exception):
    """Root of every error that this system raises on purpose; its text is one sentence for a person."""


class SettingsError(TrafficError):
    """A setting is wrong; the sentence names the setting and the reason."""


class ServiceError(TrafficError):
    """A service that the system stands on (PostgreSQL, Redis, apt, Node) cannot be used; says which and why."""


class BusFull(TrafficError):
    """The bus is at its byte bound: the sender must try again later."""


class BusClosed(TrafficError):
    """The partition is not open (no worker has opened it, or a gap was found): the sender must try again later."""


class LeaseLost(TrafficError):
    """Another worker owns the partition: the batch is abandoned, nothing of it was written."""


class Reason(StrEnum):
    """Why a record was refused. Closed: stored, counted, and shown on screen by this code."""

    MALFORMED = "malformed"  # the bytes are not the format (JSON, gzip, encoding)
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    OUT_OF_RANGE = "out_of_range"
    TOO_LONG = "too_long"
    UNKNOWN_CHECKPOINT = "unknown_checkpoint"
    UNKNOWN_DETECTOR = "unknown_detector"
    UNKNOWN_CREW = "unknown_crew"
    UNKNOWN_ROAD = "unknown_road"
    UNKNOWN_TERMINAL = "unknown_terminal"  # a terminal that nobody entered, or whose vehicle is another
    UNKNOWN_PLACE = "unknown_place"  # a stake that the road does not have, or a point too far from every road
    NOT_THIS_DEVICE = "not_this_device"  # the device may not report for this checkpoint, detector, crew or stretch
    NO_FIX = "no_fix"  # the receiver says that it does not know where it is
    TIME_UNREADABLE = "time_unreadable"
    TIME_WITHOUT_ZONE = "time_without_zone"  # native input must carry its offset
    TIME_IN_FUTURE = "time_in_future"  # later than received + 2 min
    TIME_TOO_OLD = "time_too_old"  # earlier than received - 30 d
    UNSUPPORTED = "unsupported"  # a value of the standard that this door does not take
    TOO_MANY = "too_many"  # over the door's bound of records in one request
    RULE_FAILED = "rule_failed"  # a rule failed on it twice; it is stored, the rule was skipped
    NOT_STORABLE = (
        "not_storable"  # an entry of the bus that failed again and again, alone too; kept here with its bytes
    )
