"""Figures of this process and of the whole house, as Prometheus reads them."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_FIGURES = {
    "sockets": "Open sockets",
    "feed_entries": "Feed rows read",
    "feed_unreadable": "Feed rows of no known shape",
    "feed_restarts": "Times the hub began anew",
    "links_known": "Links with a state in the hub",
    "events_kept": "Road events in the hub",
    "crews_kept": "Crews with a position in the hub",
    "vehicles_kept": "Key vehicles with a position in the hub",
}
Sample = tuple[str, str, Mapping[str, str], float]  # name, help, labels, value


class _House(Collector):
    """Gauges that were just gathered from the database and Redis."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []

    def collect(self) -> Iterable[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for name, text, labels, value in self.samples:
            family = families.setdefault(name, GaugeMetricFamily(name, text, labels=list(labels)))
            family.add_metric(list(labels.values()), value)
        return families.values()


class Metrics:
    """What this process did since it began."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._house = _House()
        self.registry.register(self._house)
        self._requests = Counter(
            "traffic_api_requests", "Requests by address and HTTP status", ["route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "traffic_api_request_seconds", "Seconds to the answer", registry=self.registry, buckets=_SECONDS
        )
        self._logins = Counter("traffic_api_logins", "Attempts to log in", ["outcome"], registry=self.registry)
        self._closed = Counter("traffic_api_sockets_closed", "Sockets by close code", ["code"], registry=self.registry)
        self._sent = Counter("traffic_api_socket_bytes", "Bytes given to sockets", registry=self.registry)
        self._acks = Counter("traffic_api_acknowledged", "Ids that screens acknowledged", registry=self.registry)
        self._process = {
            name: Gauge(f"traffic_api_{name}", text, registry=self.registry) for name, text in _FIGURES.items()
        }

    def process(self, figures: Mapping[str, int]) -> None:
        """How this process stands."""
        for name, value in figures.items():
            self._process[name].set(value)

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.observe(seconds)

    def login(self, outcome: str) -> None:
        """Somebody tried to log in."""
        self._logins.labels(outcome).inc()

    def closed(self, code: str) -> None:
        """A socket ended."""
        self._closed.labels(code).inc()

    def sent(self, count: int) -> None:
        """Bytes were given to a socket."""
        self._sent.inc(count)

    def acknowledged(self, count: int) -> None:
        """A screen acknowledged ids."""
        self._acks.inc(count)

    def page(self, samples: list[Sample]) -> bytes:
        """The text page, with the house's gauges as just gathered."""
        self._house.samples = samples
        return generate_latest(self.registry)
