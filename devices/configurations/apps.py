from importlib import import_module

from django.apps import AppConfig
from kombu.exceptions import OperationalError

from events.waking import Waker


class ConfigurationsConfig(AppConfig):
    name = "devices.configurations"
    label = "configurations"

    def ready(self) -> None:
        import_module("devices.configurations.receivers")
        rounds = import_module("devices.configurations.rounds")
        work = import_module("devices.configurations.tasks").work_rounds
        rounds.wake_with(
            Waker(
                lambda: work.apply_async(retry=False, expires=55), away=OperationalError
            )
        )
        monitoring = import_module("devices.monitoring.hooks")
        drift = import_module("devices.configurations.drift")
        monitoring.when_asked_for_drifts(drift.DRIFTS)
        hooks = import_module("devices.hooks")
        hooks.when_telling(import_module("devices.configurations.telling").tell)
        hooks.when_retiring(import_module("devices.configurations.effective").let_go)
        hooks.when_showing(import_module("devices.configurations.portal").panel)
