from django.apps import AppConfig

from core.encryption import reencryption


class EventsConfig(AppConfig):
    name = "events"

    def ready(self) -> None:
        reencryption.register("events.services.channel_secrets.reencrypt")
