"""The command `traffic`. Each command imports what it needs when it runs, so that `--help` answers at once."""

import errno
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from traffic.errors import TrafficError

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="A province's traffic police command system.",
)  # fmt: skip
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object instead of text")]
Options = Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE, an option of it; may be repeated")]
UNUSABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


@app.command()
def up() -> None:
    """Start everything on this machine; Ctrl-C stops it."""
    from dashboards import supervisor
    from traffic.settings import load_settings

    supervisor.run(load_settings())


@app.command()
def doors() -> None:
    """Take records in: GA/T 1400, native HTTP, files."""
    from traffic.ingest import server
    from traffic.settings import load_settings

    server.run(load_settings())


@app.command()
def worker() -> None:
    """Store and judge passages; many may run, on many machines."""
    from traffic import pipeline
    from traffic.log import configure
    from traffic.settings import load_settings

    settings = load_settings()
    configure(settings.log_level, "worker")
    pipeline.run(settings)


@app.command()
def monitor() -> None:
    """Say each half minute how the roads stand; a second one waits to take over."""
    from traffic import monitor as roads
    from traffic.log import configure
    from traffic.settings import load_settings

    settings = load_settings()
    configure(settings.log_level, "monitor")
    roads.run(settings)


@app.command()
def forwarder() -> None:
    """Tell other platforms what they subscribed to; a second one waits to take over."""
    from traffic import forwarder as forwarding
    from traffic.log import configure
    from traffic.settings import load_settings

    settings = load_settings()
    configure(settings.log_level, "forwarder")
    forwarding.run(settings)


@app.command()
def pictures() -> None:
    """Copy the pictures of findings; many may run."""
    from traffic import pictures as copier
    from traffic.log import configure
    from traffic.settings import load_settings

    settings = load_settings()
    configure(settings.log_level, "pictures")
    copier.run(settings)


@app.command()
def api() -> None:
    """Serve the screens: HTTP, live view and web client."""
    from dashboards.app import run
    from traffic.log import configure
    from traffic.settings import load_settings

    settings = load_settings()
    configure(settings.log_level, "api")
    run(settings)


@app.command()
def twin() -> None:
    """Demonstration only: simulated traffic, sent through the doors."""
    from sim import twin as simulated
    from traffic.log import configure
    from traffic.settings import load_settings

    settings = load_settings()
    configure(settings.log_level, "twin")
    simulated.run(settings)


@app.command("dry-run")
def dry_run() -> None:
    """Try the rules that wait for it on stored records; ends when none waits. The API starts it."""
    from traffic import dry_run_queue
    from traffic.log import configure
    from traffic.settings import load_settings

    settings = load_settings()
    configure(settings.log_level, "dry-run")
    dry_run_queue.run(settings)


@app.command()
def setup() -> None:
    """Bring what is missing: private TimescaleDB and Redis, the built web client."""
    from dashboards import setup as steps
    from traffic.progress import Progress
    from traffic.settings import load_settings

    steps.run(load_settings(), Progress(say=lambda line: print(line, flush=True)))


@app.command()
def migrate() -> None:
    """Bring the schema of TRAFFIC_DATABASE_URL up to date."""
    from traffic import database
    from traffic.settings import load_settings

    settings = load_settings()
    applied = database.migrate(_database(settings.database_url), partitions=settings.partitions)
    print("\n".join(applied) or "nothing to apply")


@app.command("load-province")
def load_province() -> None:
    """Load the model province into TRAFFIC_DATABASE_URL; repeatable."""
    from traffic import province
    from traffic.settings import load_settings

    settings = load_settings()
    _database(settings.database_url)
    print(province.load_instance(settings))


@app.command("import")
def import_file(
    kind: Annotated[str, typer.Argument(help="passages, detector-reports, positions, weather, road-works or cameras")],
    file: Annotated[Path, typer.Argument(help="CSV or NDJSON by its ending (.csv, .ndjson, .jsonl; also .gz)")],
    key: Annotated[str, typer.Option(envvar="TRAFFIC_SENDER_KEY", help="key of a native sender")],
    url: Annotated[str, typer.Option(help="address of the doors")] = "http://127.0.0.1:8602",
    charset: Annotated[str, typer.Option(help="of a CSV file: utf-8 or gb18030")] = "utf-8",
    report: Annotated[Path | None, typer.Option(help="where the whole report goes, as JSON")] = None,
) -> None:
    """Hand a file of records to the doors; exit code 1 when not all of it was accepted."""
    from dashboards.file_import import Order, hand_in, summary

    found = hand_in(Order(kind=kind, path=file, url=url, key=key, charset=charset))
    if report is not None:
        report.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(summary(found))
    if found["state"] != "done" or found["rejected"] or found["not_taken"]:
        raise typer.Exit(1)


@app.command()
def bench(name: str, as_json: AsJson = False, options: Options = None) -> None:
    """Measure something beside a reference in the same run."""
    from dashboards import bench as registry

    result = registry.run(name, _pairs(options), _tell)
    print(json.dumps(result, ensure_ascii=False) if as_json else registry.as_text(result))


@app.command()
def evaluate(name: str, as_json: AsJson = False, options: Options = None) -> None:
    """Measure how well a rule finds what happened, on labelled data."""
    from dashboards import evaluate as registry

    result = registry.run(name, _pairs(options), _tell)
    print(json.dumps(result, ensure_ascii=False) if as_json else registry.as_text(result))


@app.command()
def chaos(
    minutes: Annotated[float, typer.Option(min=0.1, max=24 * 60)] = 1.0,
    seed: Annotated[int, typer.Option(min=0)] = 1,
) -> None:
    """Kill and pause everything under load, then prove that nothing is lost or doubled."""
    from dashboards import chaos as trial

    trial.run(minutes=minutes, seed=seed, progress=_tell)


@app.command()
def replay(  # noqa: PLR0913 - a command line's options
    begin: Annotated[str, typer.Option("--from", help="first moment, with offset: 2026-11-24T08:00:00+08:00")],
    end: Annotated[str, typer.Option("--to", help="moment after the last")],
    speed: Annotated[float, typer.Option(help="1 to 60 times as fast as it was")] = 1.0,
    source: Annotated[str | None, typer.Option(help="URL of the database that holds it (else this instance's)")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="folder of the shadow (else within this instance's)")] = None,
) -> None:
    """Live through stored hours again, in a shadow of the instance; Ctrl-C stops it."""
    from dashboards import shadow
    from traffic.embedded import own_database_url
    from traffic.settings import load_settings

    settings = load_settings()
    wish = shadow.Wish(
        source=source or settings.database_url or own_database_url(settings),
        begin=shadow.read_moment(begin, "--from"),
        end=shadow.read_moment(end, "--to"),
        speed=speed,
    )
    shadow.run(settings, wish, data_dir=data_dir)


@app.command("replay-feed", hidden=True)
def replay_feed() -> None:
    """A part of a replay: hands stored records to the shadow."""
    from dashboards import shadow
    from traffic.log import configure
    from traffic.settings import load_settings

    settings = load_settings()
    configure(settings.log_level, "feeder")
    shadow.feed(settings)


network = typer.Typer(no_args_is_help=True, help="The road network.")
app.add_typer(network, name="network")


@network.command("import")
def network_import(  # noqa: PLR0913 - a command line's options
    file: Annotated[Path, typer.Argument(help="OpenStreetMap extract (.osm, .osm.gz) or SUMO network (.net.xml)")],
    unit: Annotated[int | None, typer.Option(help="who polices what lies in no county's brigade")] = None,
    origin: Annotated[str | None, typer.Option(help="LON,LAT of a network that says not where it lies")] = None,
    name: Annotated[str, typer.Option(help="what the map is known as when it comes again (else the file's name)")] = "",
    minor: Annotated[bool, typer.Option(help="residential and service roads too")] = False,
    dry_run: Annotated[bool, typer.Option(help="only say what would be written")] = False,
    report: Annotated[Path | None, typer.Option(help="CSV file for what could not be used")] = None,
) -> None:
    """Read roads and links out of a site's own map, and list what could not be used."""
    from dashboards import map_import
    from traffic.settings import load_settings

    wish = map_import.Wish(
        file=file, unit=unit, origin=map_import.read_origin(origin), name=name, minor=minor, write=not dry_run
    )
    map_import.run(_database(load_settings().database_url), wish, report=report, tell=print)


registry = typer.Typer(no_args_is_help=True, help="Key vehicles, their companies, permits and drivers.")
app.add_typer(registry, name="registry")


@registry.command("import")
def registry_import(
    what: Annotated[str, typer.Argument(help="companies, vehicles, permits or drivers (companies first)")],
    file: Annotated[Path, typer.Argument(help="CSV; its first line names the columns")],
    as_of: Annotated[str, typer.Option(help="when the data were true, with offset (else now)")] = "",
    charset: Annotated[str, typer.Option(help="utf-8 or gb18030 (else by what the file is)")] = "",
    report: Annotated[Path | None, typer.Option(help="where the whole report goes, as JSON")] = None,
) -> None:
    """Bring a registry file into the tables; exit code 1 when not all of it was taken."""
    from dashboards import registry_import as files
    from traffic.settings import load_settings

    settings = load_settings()
    wish = files.Wish(what=what, path=file, as_of=files.read_as_of(as_of, settings.clock.now()), charset=charset)
    found = files.bring_in(_database(settings.database_url), wish, settings.clock.now())
    if report is not None:
        report.write_text(files.as_json(found) + "\n", encoding="utf-8")
    print(files.summary(found))
    if found.state != "done" or found.refused_count:
        raise typer.Exit(1)


@registry.command("sync")
def registry_sync() -> None:
    """Keep the registry current: ask the national platform (TRAFFIC_REGISTRY_URL) about what is due, politely."""
    from traffic import registry_sync as sync
    from traffic.log import configure
    from traffic.settings import load_settings

    settings = load_settings()
    configure(settings.log_level, "registry")
    sync.run(settings)


@registry.command("stand-in", hidden=True)
def registry_stand_in() -> None:
    """Demonstration only: a stand-in of the national platform."""
    from sim import registry_platform
    from traffic.log import configure
    from traffic.settings import load_settings

    settings = load_settings()
    configure(settings.log_level, "stand-in")
    registry_platform.run(settings)


def _database(url: str | None) -> str:
    from traffic.errors import SettingsError

    if not url:
        raise SettingsError("TRAFFIC_DATABASE_URL is not set: this command works on a running database")
    return url


def _pairs(options: list[str] | None) -> dict[str, str]:
    from traffic.errors import SettingsError

    pairs = [entry.partition("=") for entry in options or []]
    for name, sign, _ in pairs:
        if not name or not sign:
            raise SettingsError(f"--set {name}: write it as NAME=VALUE")
    return {name: value for name, _, value in pairs}


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def guarded(command: Callable[[], object]) -> None:
    """Run; an error that is meant for a person becomes one sentence on standard error, and exit code 1."""
    try:
        command()
    except TrafficError as error:
        print(f"traffic: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        if error.errno not in UNUSABLE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"traffic: {where}{error.strerror}", file=sys.stderr)
        sys.exit(1)


def main() -> None:
    """Entry of the command."""
    guarded(app)


if __name__ == "__main__":
    main()
