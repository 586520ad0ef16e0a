"""`traffic registry import` as a person at the machine runs it."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dashboards.cli import app
from dashboards.registry_import import Wish, bring_in, read_as_of, summary
from tests.registrykit import company, csv_file, vehicle
from traffic.errors import ServiceError, SettingsError


@pytest.fixture
def command(settings, world, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRAFFIC_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("TRAFFIC_DATA_DIR", str(settings.data_dir))

    def run(*words: object):
        return CliRunner().invoke(app, ["registry", "import", *map(str, words)])

    return run


def test_a_file_is_taken_in_and_what_was_refused_is_told_and_written_down(command, owner, tmp_path: Path):
    good, mixed, report = tmp_path / "c.csv", tmp_path / "v.csv", tmp_path / "r.json"
    good.write_bytes(csv_file([company()], encoding="gb18030"))
    mixed.write_bytes(csv_file([vehicle(1), vehicle(2, kind="spaceship")]))

    companies = command("companies", good)
    vehicles = command("vehicles", mixed, "--report", report)
    again = command("companies", good)

    assert companies.exit_code == 0 and "1 lines: 1 added" in companies.output
    assert vehicles.exit_code == 1 and "line 3: kind unknown_value" in vehicles.output
    assert again.exit_code == 0 and "1 as they were" in again.output
    told = json.loads(report.read_text(encoding="utf-8"))
    assert told["added"] == 1 and [(row["line"], row["reason"]) for row in told["refused"]] == [(3, "unknown_value")]
    assert owner.execute("SELECT count(*) FROM key_vehicle").fetchone() == (1,)


def test_wishes_that_cannot_be_met_are_one_sentence(settings, world, tmp_path: Path):
    file = tmp_path / "v.csv"
    file.write_bytes(csv_file([vehicle(1)]))
    now = settings.clock.now()
    url = settings.database_url
    with pytest.raises(SettingsError, match="nothing of the registry"):
        bring_in(url, Wish(what="ships", path=file, as_of=now), now)
    with pytest.raises(SettingsError, match="is no file"):
        bring_in(url, Wish(what="vehicles", path=tmp_path, as_of=now), now)
    with pytest.raises(ServiceError, match="PostgreSQL cannot be reached"):
        bring_in("postgresql://nobody@127.0.0.1:1/x", Wish(what="vehicles", path=file, as_of=now), now)
    for text in ("yesterday", "2026-01-01T00:00:00", (now + timedelta(days=1)).isoformat()):
        with pytest.raises(SettingsError, match="--as-of"):
            read_as_of(text, now)
    wrong = bring_in(url, Wish(what="vehicles", path=file, as_of=now, charset="latin-1"), now)
    assert wrong.state == "refused" and "latin-1" in summary(wrong)
