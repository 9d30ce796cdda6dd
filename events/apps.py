from django.apps import AppConfig

from core.encryption import reencryption


class EventsConfig(AppConfig):
    name = "events"
    verbose_name = "Activity"

    def ready(self) -> None:
        reencryption.register("events.services.channel_secrets.reencrypt")
