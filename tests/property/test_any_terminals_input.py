"""Any bytes at the terminals' door: messages or the documented refusals, whatever pieces they come in."""

import contextlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sim.terminals import State, TerminalProtocol
from tests.terminalkit import NOW_US, registration, terminal
from traffic.ingest import jt808_bodies as bodies
from traffic.ingest.checks import NO_TIME
from traffic.ingest.jt808 import (
    BODY_BYTES_MAX,
    V2013,
    V2019,
    FrameRefused,
    Frames,
    Kind,
    Message,
    Parts,
    decode,
    encode,
    in_parts,
)
from traffic.ingest.jt808_bodies import FIX, Authentication, BodyMalformed, Registration
from traffic.ingest.terminal_positions import judge

VERSIONS = st.sampled_from((V2013, V2019))
WIRE = st.binary(max_size=200) | st.lists(st.sampled_from((0x7E, 0x7D, 1, 2, 0, 0x40)), max_size=200).map(bytes)
MESSAGES = st.builds(
    Message,
    kind=st.sampled_from(Kind) | st.integers(0, 0xFFFF),
    phone=st.integers(0, 10**12 - 1).map(str),
    serial=st.integers(0, 0xFFFF),
    body=st.binary(max_size=BODY_BYTES_MAX) | st.just(b"\x7e\x7d" * 500),
    version=VERSIONS,
)


def read_all(stream: bytes, cuts: list[int]) -> tuple[list[Message | str], bool]:
    frames, found = Frames(), []
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    for begin, end in zip(places, places[1:], strict=False):
        for frame in frames.feed(stream[begin:end]):
            try:
                found.append(decode(frame))
            except FrameRefused as error:
                found.append(str(error))
    return found, frames.broken


@given(WIRE, st.lists(st.integers(0, 10_000)))
def test_any_bytes_are_messages_or_refusals_wherever_they_are_cut(stream: bytes, cuts: list[int]):
    assert read_all(stream, cuts) == read_all(stream, [])


@given(st.lists(MESSAGES | WIRE, max_size=6), st.lists(st.integers(0, 10_000), max_size=8))
def test_good_messages_come_through_between_rubbish(items: list[Message | bytes], cuts: list[int]):
    stream = b"".join(encode(item) if isinstance(item, Message) else item + b"\x7e" for item in items)
    found, broken = read_all(stream, cuts)
    assert (found, broken) == read_all(stream, []) and not broken
    sent = [item for item in items if isinstance(item, Message)]
    read = iter([item for item in found if isinstance(item, Message)])
    assert all(any(message == other for other in read) for message in sent)  # in order, perhaps with more between


@given(MESSAGES)
def test_what_is_encoded_is_decoded(message: Message):
    frame = encode(message)
    assert frame.count(b"\x7e") == 2
    assert decode(frame[1:-1]) == message


@given(st.binary(max_size=3000), st.integers(0, 0xFFFF), st.permutations(range(3)))
def test_parts_come_together_in_any_order(body: bytes, serial: int, order: list[int]):
    parts = in_parts(Message(Kind.POSITIONS, "1", serial, body))
    together = Parts()
    ordered = [parts[place] for place in order if place < len(parts)]
    found = [whole for part in ordered if (whole := together.add(part))]
    assert len(found) == 1 and found[0].message.body == body


@given(st.binary(max_size=400), VERSIONS)
def test_any_body_is_read_or_malformed(body: bytes, version: int):
    for read in (
        bodies.position_of, bodies.positions_of, bodies.position_of_answer, bodies.read_answer, bodies.read_registered,
        lambda data: Registration.read(data, version), lambda data: Authentication.read(data, version),
        lambda data: bodies.read_text(data, version),
    ):  # fmt: skip
        with contextlib.suppress(BodyMalformed):
            read(body)
    bodies.read_items(body)


@given(st.lists(st.binary(min_size=FIX.itemsize, max_size=60), max_size=20), st.booleans())
def test_any_positions_are_rows_or_refusals_and_none_is_both(told: list[bytes], seen_before: bool):
    owners = [terminal(number) for number in range(len(told))]
    last = np.full((len(told), 2), 125.0 if seen_before else np.nan)
    judged = judge(told, owners, last, received_us=NOW_US)
    refused = {refusal.index for refusal in judged.refusals}
    assert set(judged.position_of.tolist()) | refused == set(range(len(told)))
    assert not set(judged.position_of.tolist()) & refused
    assert (judged.positions["observed_at"] != NO_TIME).all() and (judged.alarms["bits"] > 0).all()
    assert not np.isnan(judged.alarms["lon"]).any()


@given(st.lists(WIRE, max_size=10))
def test_a_terminal_survives_whatever_it_is_told(pieces: list[bytes]):
    protocol = TerminalProtocol("13912344321", registration(1))
    protocol.connected()
    for piece in pieces:
        protocol.received(piece)
    assert protocol.state in State
