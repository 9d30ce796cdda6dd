"""For tests of what another process does."""

import time
from collections.abc import Callable


def until(holds: Callable[[], object], *, within: float = 30.0) -> None:
    """Wait for a condition; fail when it does not come about in so many seconds."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, "It did not happen in time."
        time.sleep(0.05)
