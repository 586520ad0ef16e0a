"""What a cycle says, rounded, and what of it is new."""

import numpy as np
import pytest

from tests.fake_cycle import _risk
from traffic.network import Checkpoint, Link, Road, Section
from traffic.road_said import changed_links, link_items, links_said, rounded, said_of_table
from traffic.roadbook import lay_sections
from traffic.roads.model import Picture, RoadNetwork, build_network

NAN = float("nan")


def network(many: int = 3, road: int = 1) -> RoadNetwork:
    """Links of 10 km one after another in direction 1, and as many in direction 2."""
    links = [
        Link(
            id=10 * direction + n, road_id=road, direction=direction, from_stake_m=10_000 * (n + direction - 1),
            to_stake_m=10_000 * (n + 2 - direction), length_m=10_500, lanes=2, limit_kmh=100, unit_id=1, geometry=(),
        )
        for direction in (1, 2) for n in range(many)
    ]  # fmt: skip
    return build_network([Road(id=road, code="G1", name="", name_en="", kind="expressway", approximate=True)], links)


def picture(speeds: list[float], **columns: list) -> Picture:
    many = len(speeds)
    known = ~np.isnan(speeds)
    values = {
        "at_us": 0, "observed_us": np.where(known, 5_000_000, 0), "level": known.astype(np.int8),
        "speed_kmh": np.array(speeds), "flow_vph": np.where(known, 1200.4, NAN), "density_vkm": np.full(many, NAN),
        "travel_s": np.full(many, NAN), "travel_p90_s": np.full(many, NAN), "heavy_share": np.full(many, NAN),
        "confidence": known.astype(float), "sources": np.zeros(many, np.int8),
    }  # fmt: skip
    return Picture(**values | {name: np.array(column) for name, column in columns.items()})


def said(speeds: list[float], **columns: list) -> np.ndarray:
    told = picture(speeds, **columns)
    return links_said(told, _risk(told))


def test_only_what_differs_after_rounding_is_said_again():
    before = said([80.0, 80.0, NAN, 50.0])
    table, screens = changed_links(said([80.04, 80.06, NAN, NAN]), before)
    assert table.tolist() == screens.tolist() == [1, 3]
    assert changed_links(before, None)[1].tolist() == [0, 1, 2, 3]
    assert changed_links(said([80.0, 80.0, NAN, 50.0]), before)[0].tolist() == []


def test_what_screens_do_not_show_is_written_and_not_told():
    table, screens = changed_links(
        said([80.0, 80.0], heavy_share=[0.2, 0.3]), said([80.0, 80.0], heavy_share=[0.2, 0.2])
    )
    assert table.tolist() == [1] and screens.tolist() == []


@pytest.mark.parametrize("value", [NAN, float("inf"), float("-inf")])
def test_what_is_no_number_is_not_known(value: float):
    assert np.isnan(rounded(np.array([value]), 1)[0])


def test_zeros_of_either_sign_are_one():
    assert rounded(np.array([-0.01, 0.01]), 1).tobytes() == rounded(np.array([0.0, -0.0]), 1).tobytes()


def test_links_are_told_as_lists_with_nothing_for_unknown():
    ground = network(1)
    rows = said([80.14, NAN])
    assert link_items(ground, rows, np.arange(2)) == [
        [10, 1, 80.1, 1200, None, None, None, 1.0, 5_000_000, 1, 1],
        [20, 0, None, None, None, None, None, 0.0, None, 0, 0],
    ]


def _stored(name: str, value: float) -> float | None:
    return None if value != value or (name == "observed" and value == 0) else value


def test_what_the_table_gives_back_is_what_was_said():
    ground, rows = network(1), said([80.1, NAN])
    names = (
        "observed", "level", "speed", "flow", "density", "travel", "p90", "heavy", "confidence", "sources", "risk",
        "risk_level", "risk_next", "risk_next_level",
    )  # fmt: skip
    table = [(int(ground.ids[n]), *(_stored(name, rows[name][n].item()) for name in names)) for n in range(2)]
    assert changed_links(rows, said_of_table(ground, table))[0].tolist() == []
    assert changed_links(rows, said_of_table(ground, table[:1]))[0].tolist() == [1]
    assert changed_links(rows, said_of_table(ground, [*table, (99, *table[0][1:])]))[0].tolist() == []


# ---------------------------------------------------------------- sections
def gate(number: int, stake_m: int, road: int = 1) -> Checkpoint:
    return Checkpoint(
        id=number, code=str(number), name="", name_en="", road_id=road, stake_m=stake_m, bearing_deg=0, lanes=2,
        limit_kmh=100, lon=0, lat=0, unit_id=1, corridor=(), inter_provincial=False,
    )  # fmt: skip


def test_a_section_covers_the_links_between_its_checkpoints_in_the_direction_of_travel():
    gates = [gate(1, 5_000), gate(2, 20_000), gate(3, 1_000, road=2)]
    pairs = [(1, 2), (2, 1), (1, 3), (1, 1), (1, 77)]
    sections = [
        Section(id=n, from_checkpoint=a, to_checkpoint=b, length_m=15_000, limit_kmh=100)
        for n, (a, b) in enumerate(pairs)
    ]
    laid = lay_sections(network(), sections, gates)
    assert laid.start.tolist() == [0, 2, 4, 4, 4, 4]
    assert network().ids[laid.link].tolist() == [10, 11, 20, 21]
    assert laid.weight_m.tolist() == [5_250, 10_500, 5_250, 10_500]


def test_no_links_and_no_sections_are_no_error():
    empty = build_network([], [])
    assert len(lay_sections(empty, [], [])) == 0
    assert lay_sections(
        empty, [Section(id=1, from_checkpoint=1, to_checkpoint=2, length_m=1, limit_kmh=1)], []
    ).start.tolist() == [0, 0]
