"""Beat, of which there may be several, and which bears a clock that is set back.

Only one of them sends; the others look on and take its place when it falls silent. So
beat is no single point of failure, and starting it twice does no harm.
"""

import os
import socket
import time
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry
from redis import Redis, RedisError

from provisioning.schedule import RENAMED_TASKS

LEASE = 20  # seconds after which another beat takes the place of one that fell silent
LOOK_AGAIN = 5.0  # seconds
SET_BACK = 2.0  # seconds that a clock may go back without anybody having set it

TAKE_OR_KEEP = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""


class Entry(ModelEntry):  # type: ignore[misc] # untyped
    """A task of the schedule; it cannot have run in the future."""

    last_run_at: datetime

    def __init__(self, model: Any, app: Any = None) -> None:
        super().__init__(model, app=app)
        self.not_in_the_future()

    def not_in_the_future(self) -> None:
        now = timezone.now()
        if self.last_run_at > now + timedelta(seconds=SET_BACK):
            self.last_run_at = self.model.last_run_at = now


class Scheduler(DatabaseScheduler):  # type: ignore[misc] # untyped
    """Sends what is due while it holds the place of the one that does."""

    Entry = Entry

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._me = f"{socket.gethostname()}:{os.getpid()}:{time.time_ns()}"
        self._wall = time.time()
        self._holds_until = 0.0
        client: Any = Redis.from_url(
            settings.REDIS_URL, socket_connect_timeout=1, socket_timeout=1
        )
        self._take_or_keep = client.register_script(TAKE_OR_KEEP)
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Write the schedule to the database, without the tasks that were renamed."""
        super().setup_schedule()
        PeriodicTask.objects.filter(task__in=RENAMED_TASKS).delete()

    def tick(self, *args: Any, **kwargs: Any) -> float:
        self._bear_a_clock_set_back()
        if not self._is_the_one():
            return LOOK_AGAIN
        return float(super().tick(*args, **kwargs))

    def _is_the_one(self) -> bool:
        """Whether this one sends; asked of Redis a few times within a lease."""
        if time.monotonic() < self._holds_until:
            return True
        key = f"{settings.KEY_PREFIX}beat"
        try:
            mine = bool(self._take_or_keep(keys=[key], args=[self._me, LEASE]))
        except RedisError:
            return False  # nothing could be sent either
        self._holds_until = time.monotonic() + LEASE / 4 if mine else 0.0
        return mine

    def _bear_a_clock_set_back(self) -> None:
        before, self._wall = self._wall, time.time()
        if self._wall < before - SET_BACK:
            for entry in self.schedule.values():
                entry.not_in_the_future()
            self._heap = None  # its times are those of the clock before
