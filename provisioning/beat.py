"""Celery beat scheduler that elects a leader and tolerates a clock that is set back.

Several beat processes may run at the same time. Only the process that holds the lease sends
tasks. Another process takes over when the lease expires. Beat is therefore no single point
of failure.
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

LEASE = 20  # seconds without a renewal after which another beat takes over
STANDBY_INTERVAL = 5.0  # seconds between two attempts of a standby to become the leader
CLOCK_TOLERANCE = 2.0  # seconds; smaller steps back of the clock are ignored

ACQUIRE_LEASE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""


class Entry(ModelEntry):
    """A scheduled task whose last run is never in the future."""

    last_run_at: datetime

    def __init__(self, model: Any, app: Any = None) -> None:
        super().__init__(model, app=app)
        self.clamp_last_run()

    def clamp_last_run(self) -> None:
        """If the last run is in the future, set it to the present time."""
        now = timezone.now()
        if self.last_run_at > now + timedelta(seconds=CLOCK_TOLERANCE):
            self.last_run_at = self.model.last_run_at = now


class Scheduler(DatabaseScheduler):
    """Send due tasks while this process holds the lease."""

    Entry = Entry

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._id = f"{socket.gethostname()}:{os.getpid()}:{time.time_ns()}"
        self._last_wall_time = time.time()
        self._leader_until = 0.0  # monotonic time; the lease is renewed after it
        client = Redis.from_url(
            settings.REDIS_BROKER_URL, socket_connect_timeout=1, socket_timeout=1
        )
        self._acquire_lease = client.register_script(ACQUIRE_LEASE)
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Write the schedule to the database and delete entries of renamed tasks."""
        super().setup_schedule()
        PeriodicTask.objects.filter(task__in=RENAMED_TASKS).delete()

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send due tasks. Return the seconds until the next call."""
        self._handle_clock_set_back()
        if not self._is_leader():
            return STANDBY_INTERVAL
        return float(super().tick(*args, **kwargs))

    def _is_leader(self) -> bool:
        """Return True if this process is the leader. Renew the lease every `LEASE` / 4 seconds."""
        if time.monotonic() < self._leader_until:
            return True
        key = f"{settings.KEY_PREFIX}beat"
        try:
            acquired = bool(self._acquire_lease(keys=[key], args=[self._id, LEASE]))
        except RedisError:
            return False  # without Redis no task could be sent either
        self._leader_until = time.monotonic() + LEASE / 4 if acquired else 0.0
        return acquired

    def _handle_clock_set_back(self) -> None:
        previous, self._last_wall_time = self._last_wall_time, time.time()
        if self._last_wall_time < previous - CLOCK_TOLERANCE:
            for entry in self.schedule.values():
                entry.clamp_last_run()
            self._heap = None  # its due times were computed with the previous clock
