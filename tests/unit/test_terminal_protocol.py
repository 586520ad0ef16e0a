"""The twin's terminal as a protocol: it registers once, logs in again, and tells later what it could not tell."""

from datetime import timedelta

import pytest

from sim.terminals import KEPT_MAX, UNANSWERED_MAX, State, TerminalProtocol
from tests.terminalkit import NOW, PLACE, registration
from traffic.ingest import jt808_bodies as bodies
from traffic.ingest.jt808 import V2013, V2019, Frames, Kind, Message, Registered, Result, decode, encode
from traffic.ingest.jt808_bodies import Position


class Platform:
    """The other side, which answers as the test wants."""

    def __init__(self, version: int = V2019) -> None:
        self.terminal = TerminalProtocol("13904310001", registration(1), version=version)
        self.version = version
        self.heard: list[Message] = []
        self._serial = 0

    def take(self, data: bytes) -> list[Message]:
        self.heard = [decode(frame) for frame in Frames().feed(data)]
        return self.heard

    def say(self, kind: Kind, body: bytes) -> list[Message]:
        self._serial += 1
        message = Message(kind, self.terminal.phone, self._serial, body, self.version)
        return self.take(self.terminal.received(encode(message)))

    def answer(self, message: Message, result: Result = Result.OK) -> list[Message]:
        return self.say(Kind.GENERAL_ANSWER, bodies.answer_body(message.serial, message.kind, result))

    def log_in(self) -> None:
        (register,) = self.take(self.terminal.connected())
        (login,) = self.say(Kind.REGISTER_ANSWER, bodies.registered_body(register.serial, Registered.OK, "code"))
        self.answer(login)
        assert self.terminal.state is State.READY


def at(seconds: float) -> Position:
    return Position(at_us=int((NOW + timedelta(seconds=seconds)).timestamp() * 1e6), lon=PLACE[0], lat=PLACE[1])


@pytest.mark.parametrize("version", [V2013, V2019])
def test_a_terminal_registers_once_and_then_logs_in_with_its_code(version: int):
    platform = Platform(version)
    platform.log_in()
    platform.terminal.lost()
    (login,) = platform.take(platform.terminal.connected())
    assert login.kind == Kind.AUTHENTICATE and login.version == version
    assert bodies.Authentication.read(login.body, version).code == "code"


def test_a_refused_log_in_leads_to_a_new_registration():
    platform = Platform()
    platform.log_in()
    (login,) = platform.take(platform.terminal.connected())
    assert platform.answer(login, Result.FAILED) == [] and platform.terminal.state is State.REFUSED
    assert platform.take(platform.terminal.connected())[0].kind == Kind.REGISTER


def test_a_refused_registration_is_not_asked_again_at_once():
    platform = Platform()
    (register,) = platform.take(platform.terminal.connected())
    refused = bodies.registered_body(register.serial, Registered.NO_SUCH_TERMINAL)
    assert platform.say(Kind.REGISTER_ANSWER, refused) == []
    assert platform.terminal.state is State.REFUSED and platform.terminal.heartbeat() == b""


def test_positions_without_network_go_as_one_blind_batch_in_their_order():
    platform = Platform()
    platform.log_in()
    for second in range(5):
        platform.terminal.keep(at(second))
    (batch,) = platform.take(platform.terminal.told(at(5)))
    assert batch.kind == Kind.POSITIONS and batch.body[2] == 1
    times = bodies.times_us(bodies.read_fixes(bodies.positions_of(batch.body))).tolist()
    assert times == [at(second).at_us for second in range(6)]
    platform.answer(batch)
    assert (platform.terminal.counts.taken, platform.terminal.waiting) == (6, 0)
    (single,) = platform.take(platform.terminal.told(at(6)))
    assert single.kind == Kind.POSITION


def test_what_was_not_answered_or_not_taken_is_told_again():
    platform = Platform()
    platform.log_in()
    (refused,) = platform.take(platform.terminal.told(at(0)))
    platform.answer(refused, Result.FAILED)
    (again,) = platform.take(platform.terminal.told(at(1)))
    assert len(bodies.positions_of(again.body)) == 2
    platform.terminal.lost()  # before the answer
    platform.take(platform.terminal.connected())
    told = platform.answer(platform.heard[0])
    assert [len(bodies.positions_of(message.body)) for message in told] == [2]
    platform.answer(told[0])
    assert platform.terminal.counts.taken == 2


def test_what_is_kept_and_what_is_unanswered_is_bounded():
    platform = Platform()
    for second in range(KEPT_MAX + 7):
        platform.terminal.keep(at(second))
    assert platform.terminal.counts.given_up == 7 and platform.terminal.waiting == KEPT_MAX
    platform.log_in()
    for second in range(300):
        platform.terminal.told(at(second))
    assert platform.terminal.unanswered == UNANSWERED_MAX


def test_a_text_is_shown_and_a_query_is_answered_with_the_last_place():
    platform = Platform()
    platform.log_in()
    (answer,) = platform.say(Kind.POSITION_QUERY, b"")
    assert bodies.read_answer(answer.body)[1:] == (Kind.POSITION_QUERY, Result.OK)
    platform.terminal.told(at(0))
    (place,) = platform.say(Kind.POSITION_QUERY, b"")
    assert place.kind == Kind.POSITION_ANSWER and bodies.position_of_answer(place.body)[1] == at(0).body()
    (answer,) = platform.say(Kind.TEXT, bodies.text_body("减速", V2019, urgent=False, tts=True))
    assert bodies.read_answer(answer.body) == (platform._serial, Kind.TEXT, Result.OK)
    assert list(platform.terminal.texts) == ["减速"]
    (answer,) = platform.take(platform.terminal.received(encode(Message(0x8103, "1", 9, b"", V2019))))
    assert bodies.read_answer(answer.body) == (9, 0x8103, Result.UNSUPPORTED)
