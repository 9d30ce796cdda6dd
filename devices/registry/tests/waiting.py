"""Wait for an effect of another process in a test."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], *, timeout: float = 30.0) -> None:
    """Wait until the condition is true.

    Args:
        timeout: seconds to wait at most.

    Raises:
        AssertionError: the condition is still false after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"The condition is still false after {timeout} s."
        time.sleep(0.05)
