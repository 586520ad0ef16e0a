"""The age of the newest passage as each unit's screen tells it."""

import json
from uuid import UUID

import msgspec
import pytest

from dashboards.facts import Facts, Gate
from dashboards.hub import Hub, Start
from traffic.audience import Audience, Viewer
from traffic.feed import Cursor, FeedEntry

NOW_US = 1_795_000_007_000_000
BUCKET_US = NOW_US // 10_000_000 * 10_000_000
CORPS, WEST, EAST = 1, 11, 12


def hub_of(*flow: tuple[int, int, int, int, int, float]) -> Hub:
    gates = tuple(
        Gate(id=number, lon=125.0, lat=44.0, audience=Audience(units=frozenset({CORPS, unit})))
        for number, unit in ((1, WEST), (2, EAST))
    )
    start = Start(
        facts=Facts(gates=gates, covered={}),
        cursor=Cursor(epoch=UUID(int=1), places={0: 0}),
        flow=flow,
        signs=(),
        findings=(),
    )
    return Hub(start, NOW_US)


def flow_entry(seq: int, body: dict) -> FeedEntry:
    return FeedEntry(
        partition=0, seq=seq, at=NOW_US, topic="roads", kind="flow", key="1",
        audience=Audience(units=frozenset({CORPS, WEST, EAST})), body=msgspec.json.encode(body),
    )  # fmt: skip


def lag_s(hub: Hub, unit: int) -> int | None:
    screen = hub.screen(Viewer(unit=unit), ["figures"], None)
    return json.loads(hub.pump(screen)[-1])["figures"]["lag_s"]


def lags(hub: Hub) -> list[int | None]:
    return [lag_s(hub, unit) for unit in (CORPS, WEST, EAST)]


def test_without_a_passage_the_age_is_unknown():
    assert lags(hub_of()) == [None, None, None]


def test_each_unit_is_told_of_its_own_newest_passage():
    hub = hub_of()
    hub.fold([flow_entry(1, {"b": [[1, BUCKET_US, 1, 1, 0, 0.0]], "n": [[1, NOW_US - 2_000_000]]})], NOW_US)
    assert lags(hub) == [2, 2, None]
    hub.fold([flow_entry(2, {"b": [[2, BUCKET_US, 1, 1, 0, 0.0]], "n": [[2, NOW_US - 1_000_000]]})], NOW_US)
    assert lags(hub) == [1, 2, 1]
    hub.tick(NOW_US + 60_000_000)
    assert lags(hub) == [61, 62, 61]


def test_late_passages_clocks_ahead_and_unknown_checkpoints_make_it_no_younger_than_it_is():
    hub = hub_of((1, BUCKET_US - 30_000_000, 1, 1, 0, 0.0))
    begun = lag_s(hub, WEST)
    assert begun is not None and 30 <= begun < 41  # of a start only the ten seconds are known
    late = {"b": [[1, BUCKET_US - 60_000_000, 1, 1, 0, 0.0]], "n": [[1, NOW_US - 60_000_000], [99, NOW_US]]}
    hub.fold([flow_entry(1, late)], NOW_US)
    assert lag_s(hub, WEST) == begun
    hub.fold([flow_entry(2, {"b": [], "n": [[1, NOW_US + 100_000_000]]})], NOW_US)
    assert lag_s(hub, WEST) == 0


@pytest.mark.parametrize("newest", [[[1]], [["a", 1]], 5, [[1, 2, 3]]])
def test_a_body_of_no_known_shape_is_counted_and_changes_nothing(newest):
    hub = hub_of()
    hub.fold([flow_entry(1, {"b": [], "n": newest})], NOW_US)
    assert hub.unreadable == 1 and lags(hub) == [None, None, None]
