import logging
import time
from importlib import import_module

from django.apps import AppConfig
from kombu.exceptions import OperationalError

from tenants.hooks import when_something_happens

BROKER_REST = 5.0  # s

logger = logging.getLogger(__name__)


class EventsConfig(AppConfig):
    name = "events"

    def ready(self) -> None:
        outbox = import_module("events.outbox")
        deliver = import_module("events.tasks").deliver

        away_until = 0.0

        def wake() -> None:
            nonlocal away_until
            if time.monotonic() < away_until:
                return  # the one who did not answer a moment ago holds nobody up twice
            try:
                deliver.apply_async(retry=False)
            except OperationalError:
                away_until = time.monotonic() + BROKER_REST
                logger.warning("The broker is away: events wait for the next tick.")

        outbox.wake_with(wake)
        when_something_happens(outbox.record_happening)
