"""What a run of simulated devices came to: answers, errors and how long they took. Pure."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

NETWORK = 0  # the status of a request that got no answer


@dataclass(slots=True)
class Kind:
    """The requests of one kind; times in whole milliseconds, so that a day fits."""

    statuses: Counter[int] = field(default_factory=Counter)
    milliseconds: Counter[int] = field(default_factory=Counter)

    @property
    def answered(self) -> int:
        return sum(
            count for status, count in self.statuses.items() if 200 <= status < 400
        )

    @property
    def failed(self) -> int:
        return self.statuses.total() - self.answered

    def percentile(self, share: float) -> int | None:
        """In milliseconds, of those that were answered in any way."""
        wanted = share * self.milliseconds.total()
        reached = 0
        for value, count in sorted(self.milliseconds.items()):
            reached += count
            if reached >= wanted:
                return value
        return None


@dataclass(slots=True)
class Tally:
    """A run, as it stands."""

    kinds: dict[str, Kind] = field(default_factory=dict)
    states: Counter[str] = field(default_factory=Counter)  # of the devices, now
    listening: int = 0  # of them, on the push channel
    is_over: bool = False  # the run: what ends with it counts no more

    def note(self, kind: str, status: int, seconds: float) -> None:
        found = self.kinds.setdefault(kind, Kind())
        found.statuses[status] += 1
        if status != NETWORK:
            found.milliseconds[round(seconds * 1000)] += 1

    def move(self, before: str, after: str) -> None:
        """A device is in another state than it was; "" is not to be there."""
        if before:
            self.states[before] -= 1
        if after:
            self.states[after] += 1

    def listen(self, more: int) -> None:
        """So many more devices hold the push channel."""
        if not self.is_over:
            self.listening += more

    def figures(self) -> dict[str, Any]:
        """The same for machines; statuses as text, as JSON wants its keys."""
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
        """The same for people."""
        states = ", ".join(f"{n} {name}" for name, n in self.states.items() if n)
        lines = [f"devices: {states or 'none yet'}; {self.listening} listening"]
        lines.append(
            f"{'request':<16}{'answered':>10}{'failed':>8}{'p50':>9}{'p95':>9}"
        )
        for name, kind in sorted(self.kinds.items()):
            times = [kind.percentile(share) for share in (0.5, 0.95)]
            told = ["-" if time is None else f"{time} ms" for time in times]
            lines.append(
                f"{name:<16}{kind.answered:>10,}{kind.failed:>8,}{told[0]:>9}{told[1]:>9}"
            )
        return "\n".join(lines)
