"""The delivery is woken after a commit; nobody waits for that.

It is a hint only: beat sends the same every few seconds. So it goes out from a thread
of its own, once for many commits, and a broker that is away holds up no request.
"""

import logging
import os
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

REST = 5.0  # seconds after the broker was away
PAUSE = 0.05  # seconds in which all commits are one


class Waker:
    """Calls `send` soon after it was asked to, in a thread of its own.

    Args:
        send: raises `away` when the broker does not answer.
        pause: seconds after each time in which whatever is asked for is one.
        asks_again: whether what could not be sent is tried again, when nobody else
            would.
    """

    _running: bool

    def __init__(
        self,
        send: Callable[[], object],
        away: type[Exception],
        *,
        pause: float = PAUSE,
        asks_again: bool = False,
    ) -> None:
        self._send, self._away, self._pause = send, away, pause
        self._asks_again = asks_again
        self._reset()
        os.register_at_fork(after_in_child=self._reset)  # threads stay with the parent

    def __call__(self) -> None:
        self._asked.set()
        if not self._running:
            with self._lock:
                if not self._running:
                    threading.Thread(target=self._run, daemon=True).start()
                    self._running = True

    def _reset(self) -> None:
        self._asked, self._lock = threading.Event(), threading.Lock()
        self._running = False

    def _run(self) -> None:
        while self._asked.wait():
            self._asked.clear()
            try:
                self._send()
            except self._away:
                logger.warning(
                    "The broker is away: what would be told now waits for the next tick."
                )
                time.sleep(REST)
                if self._asks_again:
                    self._asked.set()
            else:
                time.sleep(self._pause)
