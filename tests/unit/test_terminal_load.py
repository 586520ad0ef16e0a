"""The terminals of the bench speak as real ones do: each of their frames is a good message with its serial."""

import pytest

from dashboards.bench.terminal_load import Line, Spec, Swarm
from traffic.ingest import jt808_bodies as bodies
from traffic.ingest.jt808 import V2013, V2019, Frames, Kind, decode


class Wire:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.data = b""

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        self.data += data


@pytest.mark.parametrize("version", [V2013, V2019])
async def test_every_frame_of_the_bench_is_a_good_message(version: int):
    spec = Spec(host="", port=1, code="c", first_phone=1, terminals=1, talkers=1, login_frames=1)
    swarm = Swarm(spec)
    for phone in ("13900000000", "13900000125", "13900000126"):
        line, wire = Line(swarm, phone, version), Wire()
        line.transport = wire  # type: ignore[assignment]
        for _ in range(300):  # every value of a check byte, the escaped ones too
            line.tell(0.0)
        messages = [decode(frame) for frame in Frames().feed(wire.data)]
        assert [message.serial for message in messages] == list(range(1, 301))
        assert {(message.kind, message.phone, message.version) for message in messages} == {
            (Kind.POSITION, phone, version)
        }
        assert bodies.position_of(messages[0].body) == swarm.body
