from importlib import import_module

from django.apps import AppConfig
from kombu.exceptions import OperationalError

from events.waking import Waker
from tenants.hooks import when_something_happens


class EventsConfig(AppConfig):
    name = "events"

    def ready(self) -> None:
        outbox = import_module("events.outbox")
        deliver = import_module("events.tasks").deliver
        outbox.wake_with(
            Waker(lambda: deliver.apply_async(retry=False), away=OperationalError)
        )
        when_something_happens(outbox.record_happening)
