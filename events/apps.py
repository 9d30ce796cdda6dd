import logging
from importlib import import_module

from django.apps import AppConfig
from kombu.exceptions import OperationalError

from tenants.hooks import when_something_happens

logger = logging.getLogger(__name__)


class EventsConfig(AppConfig):
    name = "events"

    def ready(self) -> None:
        outbox = import_module("events.outbox")
        deliver = import_module("events.tasks").deliver

        def wake() -> None:
            try:
                deliver.apply_async(retry=False)
            except OperationalError:
                logger.warning("The broker is away: events wait for the next tick.")

        outbox.wake_with(wake)
        when_something_happens(outbox.record_happening)
