from importlib import import_module

from django.apps import AppConfig
from kombu.exceptions import OperationalError

from core.encryption import when_reencrypting
from core.task_trigger import Waker
from tenants.hooks import when_something_happens


class EventsConfig(AppConfig):
    name = "events"

    def ready(self) -> None:
        outbox = import_module("events.services.outbox")
        tasks = import_module("events.tasks")
        outbox.wake_with(
            Waker(
                lambda: tasks.deliver.apply_async(retry=False), away=OperationalError
            ),
            outside=Waker(
                lambda: tasks.send.apply_async(retry=False), away=OperationalError
            ),
        )
        when_something_happens(outbox.record_happening)
        when_reencrypting(
            "webhooks", import_module("events.services.channel_secrets").reencrypt
        )
