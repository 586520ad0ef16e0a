"""Counts of one door process, for Prometheus and for the heartbeat."""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from traffic.ingest.bodies import Refusal
from traffic.readings import Door

_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Figures(Mapping[str, object]):
    """What this process did since it began. As a mapping: the heartbeat's figures."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "traffic_door_requests", "Requests by door and HTTP status", ["door", "status"], registry=self.registry
        )
        self._accepted = Counter(
            "traffic_door_accepted_records", "Records durably on the bus", ["door"], registry=self.registry
        )
        self._rejected = Counter(
            "traffic_door_rejected_records", "Refused records by reason", ["door", "reason"], registry=self.registry
        )
        self._not_taken = Counter(
            "traffic_door_not_taken_records",
            "Records that must be sent again, because the bus was full, closed or down",
            ["door"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "traffic_door_request_seconds", "Seconds to the answer", ["door"], registry=self.registry, buckets=_SECONDS
        )
        self._bodies = Gauge("traffic_door_bodies", "Bodies held at this moment", registry=self.registry)
        self._terminals = Gauge(
            "traffic_door_terminals", "Connections of terminals by whether they logged in", ["state"],
            registry=self.registry,
        )  # fmt: skip
        self._totals: dict[str, int] = {
            "requests": 0, "accepted": 0, "rejected": 0, "not_taken": 0, "refused_requests": 0,
        }  # fmt: skip

    def request(self, door: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(door, str(status)).inc()
        self._seconds.labels(door).observe(seconds)
        self._totals["requests"] += 1
        self._totals["refused_requests"] += status >= 400

    def records(self, door: Door, *, accepted: int, refusals: list[Refusal], not_taken: int) -> None:
        """What became of a request's records."""
        name = door.name.lower()
        self._accepted.labels(name).inc(accepted)
        self._not_taken.labels(name).inc(not_taken)
        for refusal in refusals:
            self._rejected.labels(name, refusal.reason).inc()
        self._totals["accepted"] += accepted
        self._totals["rejected"] += len(refusals)
        self._totals["not_taken"] += not_taken
        for figure, count in (("accepted", accepted), ("rejected", len(refusals))):
            self._totals[f"{name}_{figure}"] = self._totals.get(f"{name}_{figure}", 0) + count

    def bodies(self, count: int) -> None:
        """How many bodies are held now."""
        self._bodies.set(count)

    def terminals(self, *, connections: int, logged_in: int) -> None:
        """How many terminals are connected now."""
        self._terminals.labels("logged_in").set(logged_in)
        self._terminals.labels("waiting").set(connections - logged_in)
        self._totals["terminals"] = logged_in

    def page(self) -> bytes:
        """The page that Prometheus reads."""
        return generate_latest(self.registry)

    def __getitem__(self, name: str) -> object:
        return self._totals[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._totals)

    def __len__(self) -> int:
        return len(self._totals)
