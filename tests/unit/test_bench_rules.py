"""The bench of rules at a small size: ours and the plain loop come to the same findings on the same passages."""

import pytest

from dashboards.bench import rules, rules_load, rules_peers
from dashboards.bench.rules_load import World


@pytest.fixture(scope="module")
def world() -> World:
    return rules_load.make(36_000, 1)


def test_three_rules_and_the_plain_loop_find_the_same(world: World) -> None:
    _, candidates = rules.run(world.three, world.rows, 3_000, ticks=False)
    ours = rules.standing(candidates)
    peer, said = rules_peers.Rules(world.three), {}
    for vehicle, told in rules_peers.plain(peer, peer.records(world.three, world.rows)):
        rules_peers.fold(said, vehicle, told)
    assert ours == said
    assert {name.partition(":")[0] for name in ours} == {"section_speed", "cloned_plate", "driving_time"}


def test_the_size_of_batches_changes_no_finding(world: World) -> None:
    found = [rules.standing(rules.run(world.three, world.rows, size, ticks=False)[1]) for size in (2_000, 36_000)]
    assert found[0] == found[1]


def test_every_rule_of_the_model_runs_over_the_load(world: World) -> None:
    _, candidates = rules.run(world.every, world.rows, 4_000, ticks=True)
    assert {"watch_hit", "section_speed", "registry_state", "overspeed"} <= {word.kind for word in candidates}
