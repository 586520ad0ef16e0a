"""Whether a service that failed again and again is asked at all. Pure: time comes in as seconds of a steady clock."""

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class CircuitBreaker:
    """Open after `failures_max` failures in a row: for `rest_s` nobody asks, then one asks for all."""

    failures_max: int = 5
    rest_s: float = 30.0
    failures: int = 0
    open_until_s: float = 0.0

    def may_ask(self, now_s: float) -> bool:
        """Whether to ask now. Who gets yes after the rest is the one that tries; the others wait for its outcome."""
        if self.failures < self.failures_max:
            return True
        if now_s < self.open_until_s:
            return False
        self.open_until_s = now_s + self.rest_s
        return True

    def worked(self) -> None:
        """An answer came: it is closed."""
        self.failures = 0

    def failed(self, now_s: float) -> None:
        """No answer, or none that can be used."""
        self.failures += 1
        self.open_until_s = now_s + self.rest_s
