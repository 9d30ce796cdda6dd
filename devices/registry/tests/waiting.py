"""Wait for an effect of another process in a test."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], *, within: float = 30.0) -> None:
    """Wait until the condition is true.

    Args:
        within: seconds to wait at most.

    Raises:
        AssertionError: the condition is still false then.
    """
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"Not true within {within} seconds."
        time.sleep(0.05)
