from importlib import import_module

from django.apps import AppConfig
from kombu.exceptions import OperationalError

from events.waking import Waker
from provisioning.encryption import when_reencrypting
from tenants.hooks import when_something_happens


class EventsConfig(AppConfig):
    name = "events"

    def ready(self) -> None:
        outbox = import_module("events.outbox")
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
        when_reencrypting("webhooks", import_module("events.channel_secrets").reencrypt)
