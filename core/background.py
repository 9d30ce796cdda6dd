"""Run a function in a background thread. Requests that arrive close together are merged."""

import logging
import os
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

RETRY_AFTER = 5.0  # seconds to wait if Redis is unavailable
PAUSE = 0.05  # seconds within which several requests are merged into one call


class BackgroundCall:
    """Callable that runs `send` in a background thread soon after it is called.

    The caller never waits and never fails. Use it only for work that may be lost, for
    example because Celery beat starts the same work every few seconds.

    Args:
        send: the function to run, which raises `unavailable` when Redis does not answer.
        unavailable: the exception type that means Redis is unavailable.
        pause: seconds after each run in which further requests are merged into one.
        retries: whether to repeat a failed run. Set it if nothing else repeats the work.
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
        # A forked child process does not inherit the parent's threads.
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
