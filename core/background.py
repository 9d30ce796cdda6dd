"""Call a function soon from a background thread, once for many requests to do so."""

import logging
import os
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

RETRY_AFTER = 5.0  # seconds after Redis was unavailable
PAUSE = 0.05  # seconds in which several requests become one call


class BackgroundCall:
    """Calls `send` from a thread of its own, soon after the object is called.

    The caller never waits and never fails. Losing a call must be harmless: Celery beat
    starts the same work every few seconds.

    Args:
        send: the function to call; raises `unavailable` when Redis does not answer.
        pause: seconds after each call in which further requests become one call.
        retries: whether a call that failed is repeated, when nothing else repeats it.
    """

    _running: bool

    def __init__(
        self,
        send: Callable[[], object],
        unavailable: type[Exception],
        *,
        pause: float = PAUSE,
        retries: bool = False,
    ) -> None:
        self._send, self._unavailable, self._pause = send, unavailable, pause
        self._retries = retries
        self._reset()
        # A forked child has none of its parent's threads.
        os.register_at_fork(after_in_child=self._reset)

    def __call__(self) -> None:
        self._requested.set()
        if not self._running:
            with self._lock:
                if not self._running:
                    threading.Thread(target=self._run, daemon=True).start()
                    self._running = True

    def _reset(self) -> None:
        self._requested, self._lock = threading.Event(), threading.Lock()
        self._running = False

    def _run(self) -> None:
        while self._requested.wait():
            self._requested.clear()
            try:
                self._send()
            except self._unavailable:
                logger.warning("Redis is unavailable; the work waits for the next run.")
                time.sleep(RETRY_AFTER)
                if self._retries:
                    self._requested.set()
            else:
                time.sleep(self._pause)
