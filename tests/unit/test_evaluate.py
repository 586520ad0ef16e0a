"""What an evaluation says: its shape, and that it tells a good method from a poor one."""

import json

import pytest
from typer.testing import CliRunner

from dashboards import evaluate
from dashboards.cli import app
from traffic.errors import SettingsError

CLEAN = {"drives": "2000", "missed_share": "0", "misread_share": "0", "clock_error_s": "0", "late_share": "0"}


def test_with_perfect_cameras_the_rule_finds_nearly_all_who_drove_too_fast_and_hardly_another() -> None:
    scores = evaluate.run("section_speed", CLEAN)["details"]["by_braking_share"]["0.6"]["ours"]
    assert scores["precision"] > 0.97 and scores["recall"] > 0.97


def test_missed_reads_cost_recall_and_the_same_seed_gives_the_same_result() -> None:
    worse = CLEAN | {"missed_share": "0.3"}
    first, again = evaluate.run("section_speed", worse), evaluate.run("section_speed", worse)
    assert first == again
    assert first["details"]["by_braking_share"]["0.6"]["ours"]["recall"] < 0.7


def test_late_records_change_nothing_in_the_end() -> None:
    on_time = evaluate.run("section_speed", CLEAN)["details"]["by_braking_share"]["0.6"]["ours"]
    late = evaluate.run("section_speed", CLEAN | {"late_share": "0.5"})["details"]["by_braking_share"]["0.6"]["ours"]
    assert on_time["found"] == pytest.approx(late["found"], rel=0.02)


def test_the_command_prints_one_json_object_with_value_reference_and_ratio() -> None:
    pairs = [part for key, value in CLEAN.items() for part in ("--set", f"{key}={value}")]
    printed = CliRunner().invoke(app, ["evaluate", "section_speed", "--json", *pairs]).stdout
    result = json.loads(printed)
    assert {"name", "value", "unit", "reference", "ratio", "details"} <= set(result)
    assert set(result["reference"]) == {"name", "value"}


@pytest.mark.parametrize(
    ("name", "options"), [("nothing", {}), ("section_speed", {"drives": "many"}), ("section_speed", {"x": "1"})]
)
def test_a_wrong_name_or_option_is_refused_with_a_sentence(name: str, options: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="there is no|option"):
        evaluate.run(name, options)
