"""Count the requests of simulated devices with their statuses and durations."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

NETWORK = 0  # status of a request without a response


@dataclass(slots=True)
class RequestStatistics:
    """The statuses and durations of one kind of request.

    Durations are counted in whole milliseconds, so that memory does not grow with time.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    milliseconds: Counter[int] = field(default_factory=Counter)

    @property
    def answered(self) -> int:
        return sum(count for status, count in self.statuses.items() if 200 <= status < 400)

    @property
    def failed(self) -> int:
        return self.statuses.total() - self.answered

    def percentile(self, share: float) -> int | None:
        """Return a percentile of the durations in milliseconds.

        Args:
            share: The percentile as a fraction, from 0 to 1.

        Returns:
            The percentile over all responses, including errors. None if there is no response.
        """
        threshold = share * self.milliseconds.total()
        count_so_far = 0
        for value, count in sorted(self.milliseconds.items()):
            count_so_far += count
            if count_so_far >= threshold:
                return value
        return None


@dataclass(slots=True)
class RunStatistics:
    """The statistics of a run."""

    kinds: dict[str, RequestStatistics] = field(default_factory=dict)
    states: Counter[str] = field(default_factory=Counter)  # devices in each state
    listening: int = 0  # number of devices with an open push connection
    is_over: bool = False  # if True, disconnects are not counted

    def count_request(self, kind: str, status: int, seconds: float) -> None:
        """Count a request. `status` is `NETWORK` if there was no response."""
        statistics = self.kinds.setdefault(kind, RequestStatistics())
        statistics.statuses[status] += 1
        if status != NETWORK:
            statistics.milliseconds[round(seconds * 1000)] += 1

    def move(self, old_state: str, new_state: str) -> None:
        """Count a device in its new state instead of the old state. An empty string is no state."""
        if old_state:
            self.states[old_state] -= 1
        if new_state:
            self.states[new_state] += 1

    def listen(self, change: int) -> None:
        """Add `change` to the number of open push connections, unless the run is over."""
        if not self.is_over:
            self.listening += change

    def as_json_values(self) -> dict[str, Any]:
        """Return the statistics as JSON values. Statuses become strings, as JSON keys must be."""
        return {
            "devices": {name: count for name, count in self.states.items() if count},
            "listening": self.listening,
            "requests": {
                name: {
                    "answered": kind.answered,
                    "failed": kind.failed,
                    "statuses": {str(s): n for s, n in sorted(kind.statuses.items())},
                    "p50_ms": kind.percentile(0.5),
                    "p95_ms": kind.percentile(0.95),
                }
                for name, kind in sorted(self.kinds.items())
            },
        }

    def table(self) -> str:
        """Return the statistics as a text table."""
        states = ", ".join(f"{n} {name}" for name, n in self.states.items() if n)
        lines = [f"devices: {states or 'none yet'}; {self.listening} push connections"]
        lines.append(f"{'request':<16}{'answered':>10}{'failed':>8}{'p50':>9}{'p95':>9}")
        for name, kind in sorted(self.kinds.items()):
            times = [kind.percentile(share) for share in (0.5, 0.95)]
            p50, p95 = ("-" if time is None else f"{time} ms" for time in times)
            lines.append(f"{name:<16}{kind.answered:>10,}{kind.failed:>8,}{p50:>9}{p95:>9}")
        return "\n".join(lines)
