"""A finding explained: what stood before and after each revision, and where it was on the map."""

from dataclasses import replace

import pytest

from dashboards.explanation import map_of, observations, revisions, stretch_of
from tests.sightings import A, B, C, D, fold_all, passages, rulebook, watch
from traffic.findings import Finding, Observation

# G1 runs east along the equator's grid, 0.01 degrees a kilometre; A, B, C lie on it, D on another road.
GATES = {
    number: {
        "id": number, "code": f"c{number}", "name": f"卡口{number}", "name_en": f"Gate {number}", "road": road,
        "road_id": road_id, "stake_m": stake_m, "lon": 125.0 + stake_m / 100_000, "lat": 43.0,
    }
    for number, road, road_id, stake_m in (
        (A, "G1", 1, 2_000), (B, "G1", 1, 12_000), (C, "G1", 1, 22_000), (D, "G2", 2, 0),
    )
}  # fmt: skip


def link(begin: int, end: int, direction: int = 1, road: int = 1) -> dict:
    line = [[125.0 + stake / 100_000, 43.0] for stake in (begin, (begin + end) // 2, end)]
    return {"road_id": road, "direction": direction, "from_stake_m": begin, "to_stake_m": end, "geometry": line}


LINKS = [link(0, 10_000), link(10_000, 30_000), link(10_000, 0, 2), link(30_000, 10_000, 2)]


def finding(*gates: int) -> Finding:
    rows = passages(*((minute * 9, gate) for minute, gate in enumerate(gates)))
    (found,) = fold_all({}, rulebook(watch()).match_watchlist(rows))
    return found


def lines(found: Finding, links: list[dict] = LINKS) -> list[dict]:
    features = map_of(observations(found, GATES), GATES, links)["features"]
    return [feature for feature in features if feature["geometry"]["type"] == "LineString"]


def test_every_observation_is_a_point_and_the_road_lies_between_two() -> None:
    told = map_of(observations(finding(A, B), GATES), GATES, LINKS)
    assert [feature["geometry"]["type"] for feature in told["features"]] == ["Point", "Point", "LineString"]
    points = [feature["geometry"]["coordinates"] for feature in told["features"][:2]]
    assert points == [[125.02, 43.0], [125.12, 43.0]]
    (line,) = lines(finding(A, B))
    assert line["properties"]["kind"] == "road"
    steps = [point[0] for point in line["geometry"]["coordinates"]]
    assert steps == sorted(steps) and steps[0] == 125.02 and steps[-1] == 125.12
    assert 125.05 in [round(step, 6) for step in steps]  # the first link's own corner, and no more than the stretch
    assert all(124.999 < step < 125.121 for step in steps)


def test_against_the_stakes_the_line_runs_back() -> None:
    (line,) = lines(finding(C, A))
    steps = [point[0] for point in line["geometry"]["coordinates"]]
    assert line["properties"]["kind"] == "road" and steps == sorted(steps, reverse=True)


@pytest.mark.parametrize("links", [[], LINKS[:1], LINKS[2:]], ids=["none", "a hole", "the other way"])
def test_where_the_road_is_not_known_the_line_is_straight_and_says_so(links: list[dict]) -> None:
    (line,) = lines(finding(A, B), links)
    assert line["properties"]["kind"] == "straight" and len(line["geometry"]["coordinates"]) == 2


def test_from_road_to_road_the_line_is_straight() -> None:
    (line,) = lines(finding(A, D))
    assert line["properties"]["kind"] == "straight"


def test_what_lies_at_one_place_needs_no_line_and_what_lies_nowhere_no_point() -> None:
    assert lines(finding(A, A)) == []
    nowhere = replace(finding(A), observations=(*finding(A).observations, *finding(9).observations))
    told = map_of(observations(nowhere, GATES), GATES, LINKS)
    assert len(told["features"]) == 1
    assert observations(nowhere, GATES)[1]["name"] is None


def test_a_position_is_where_it_says() -> None:
    fix = Observation(
        at=1, checkpoint=0, direction=0, lane=0, speed_kmh=None, record="p1", source="position", lon=126.0, lat=44.0,
        stake="G1 K100+000",
    )  # fmt: skip
    told = observations(replace(finding(A), observations=(fix,)), GATES)[0]
    assert (told["lon"], told["lat"], told["stake"], told["source"]) == (126.0, 44.0, "G1 K100+000", "position")
    assert stretch_of(replace(finding(A), observations=(fix,)), GATES) == ([], 0, 0)


def test_the_stretch_that_is_read_is_that_of_the_checkpoints() -> None:
    assert stretch_of(finding(B, A, D), GATES) == ([1, 2], 0, 12_000)


# ---------------------------------------------------------------- revisions
def row(revision: int, change: str, cause: dict | None, **grounds: object) -> dict:
    seen = [{"at": 5, "record": "5:1"}, {"at": 9, "record": "9:2"}]
    given = {"level": 2, "state": "active", "count": 2, "observations": seen, "detail": {}, **grounds}
    return {"revision": revision, "change": change, "raised_at": revision, "cause": cause, "grounds": given}


def test_each_revision_tells_what_stood_before_and_after_it_and_its_cause() -> None:
    late = {"reason": "late_entry", "at": 5, "checkpoint": 1, "record": "5:1"}
    rows = [
        row(3, "verified", {"deed": "d", "by": "west"}, verification={"verdict": "valid", "counted": [[1]]}),
        row(2, "corrected", late, detail={"section": {"speed_kmh": 121.0}}),
        row(1, "new", None, detail={"section": {"speed_kmh": 141.0}}),
    ]
    third, second, first = revisions(rows, limit=10)
    assert (first["before"], first["after"]["section"]) == (None, {"speed_kmh": 141.0})
    assert (second["before"]["section"], second["after"]["section"]) == ({"speed_kmh": 141.0}, {"speed_kmh": 121.0})
    assert second["cause"] == late and second["by"] is None
    assert (third["by"], "verification" in third["before"]) == ("west", False)
    assert third["after"]["verification"]["verdict"] == "valid" and "counted" not in third["after"]["verification"]
    assert third["after"]["records"] == ["5:1", "9:2"]


def test_of_very_many_revisions_the_oldest_shown_still_tells_what_stood_before() -> None:
    rows = [row(number, "updated", None, count=number) for number in (4, 3, 2, 1)]
    told = revisions(rows[:3], limit=2)
    assert [(one["revision"], one["before"]["count"]) for one in told] == [(4, 3), (3, 2)]
