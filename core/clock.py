"""The time of the database's clock, which all hosts share.

The clock of a host may be wrong. With such a clock, a device that reports to this host would
be online for too long, or offline immediately. Each process measures the database's clock once a
minute, and in between adds the time that has passed by its monotonic clock.
"""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import Error, connection

MEASURE_EVERY = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Measurement:
    """The database's time at a reading of the monotonic clock."""

    database_time: datetime
    monotonic: float


class DatabaseClock:
    """The database's clock as seen by one process. It may be used by several threads."""

    def __init__(self) -> None:
        self._measured: Measurement | None = None

    def now(self) -> datetime:
        """Return the present time of the database.

        Raises:
            OperationalError, InterfaceError: the database has not answered yet. After the
                first measurement, the time is known without the database.
        """
        measured = self._measured
        if measured is None or time.monotonic() - measured.monotonic > MEASURE_EVERY:
            try:
                measured = self._measured = _measure()
            except Error:
                if measured is None:
                    raise
        return measured.database_time + timedelta(seconds=time.monotonic() - measured.monotonic)


def _measure() -> Measurement:
    started = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        database_time = cursor.fetchone()[0]
    return Measurement(database_time, (started + time.monotonic()) / 2)


now = DatabaseClock().now
