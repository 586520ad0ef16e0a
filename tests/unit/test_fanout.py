"""The pieces of bench fanout that decide on a figure; the bench itself does not run here."""

import json

from dashboards.bench import fanout, fanout_clients, fanout_server
from dashboards.bench.fanout import METHODS
from dashboards.bench.fanout_words import Answer, Seen
from dashboards.protocol import prepared
from traffic.audience import Viewer
from traffic.clock import Clock


def answer(per_s: float, cpu_us: float) -> Answer:
    return Answer(clients=10, per_s=per_s, cpu_us=cpu_us, bytes_each=700)


def seen(p99_ms: float, *, slow: int = 0, holes: int = 0) -> Seen:
    return Seen(p50_ms=1.0, p99_ms=p99_ms, delays=10, slow=slow, slow_holes=holes, slow_behind=0, slow_frames=5.0,
                fast_frames=9.0, fast_holes=0, closed=0)  # fmt: skip


def test_ratios_are_those_of_one_round():
    quiet = dict(zip(METHODS, (answer(200, 5), answer(100, 10), answer(1600, 0.5), answer(1600, 0.5)), strict=True))
    busy = dict(zip(METHODS, (answer(20, 6), answer(10, 12), answer(160, 0.6), answer(160, 0.6)), strict=True))
    told = fanout._flooded([quiet, busy])
    assert told["ratio_at_equal_batching"] == 2.0 and told["ratio_at_equal_batching_by_cpu"] == 2.0
    assert told["ratio_with_the_tick"] == 16.0 and told["ratio_of_a_tick_in_one"] == 1.0
    json.dumps(told)


def test_what_must_not_happen_is_added_up_and_not_averaged_away():
    told = fanout._told(
        [(answer(1, 1), seen(20.0)), (answer(1, 1), seen(30.0, slow=3, holes=1)), (answer(1, 1), seen(25.0))]
    )
    assert told["clients_with_an_alert_missing_or_twice"] == 1 and told["alert_p99_ms"] == 25.0


class Reading(fanout_clients.Clients):
    """The reading alone, without sockets."""

    def __init__(self) -> None:
        self.delays = []


def viewer() -> fanout_clients.Viewer:
    return fanout_clients.Viewer(None, True, False, is_read=True)  # type: ignore[arg-type]


def test_clients_read_the_hubs_frames_however_they_are_cut():
    clock = Clock()
    hub = fanout_server.make_hub(clock)
    feed = fanout_server.Feed(hub, clock)
    screen = hub.screen(Viewer(unit=1), ("links", "alerts"), None)
    hub.join(screen, hub.log.end, hub.cursor)
    frames = hub.pump(screen)
    for _ in range(3):
        hub.fold([feed.links(), feed.alert()], clock.now_us())
        frames += hub.pump(screen)
    data = b"".join(frames) + prepared(b'{"type":"ping","at":1,"seq":""}')
    for size in (1, 7, 4096, len(data)):
        reading, one = Reading(), viewer()
        for place in range(0, len(data), size):
            one.kept += data[place : place + size]
            reading._read(one, clock.now_us())
        assert one.alerts == [1, 2, 3] and one.links == 4 and one.newest_us == hub.links.cycle_us
        assert len(reading.delays) == 3 and not one.kept


def test_an_alert_that_is_missing_or_comes_twice_is_noticed():
    def told(*alerts: int) -> fanout_clients.Viewer:
        one = viewer()
        one.alerts = list(alerts)
        return one

    whole = told(4, 5, 6)
    assert fanout_clients._is_whole(whole, told(4, 5, 6))
    for wrong in (told(4, 6), told(4, 5, 5, 6), told(5, 4, 6), told(4, 5), told()):
        assert not fanout_clients._is_whole(wrong, whole)
