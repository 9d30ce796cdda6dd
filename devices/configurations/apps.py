from importlib import import_module

from django.apps import AppConfig
from kombu.exceptions import OperationalError

from core.task_trigger import Waker


class ConfigurationsConfig(AppConfig):
    name = "devices.configurations"
    label = "configurations"

    def ready(self) -> None:
        import_module("devices.configurations.services.subscribers")
        rounds = import_module("devices.configurations.services.recalculation")
        work = import_module("devices.configurations.tasks").work_rounds
        rounds.wake_with(
            Waker(
                lambda: work.apply_async(retry=False, expires=55), away=OperationalError
            )
        )
        monitoring = import_module("devices.monitoring.extension_points")
        drift = import_module("devices.configurations.services.drift")
        monitoring.when_asked_for_drifts(drift.DRIFTS)
        hooks = import_module("devices.registry.extension_points")
        hooks.when_telling(
            import_module("devices.configurations.services.connect_response").tell
        )
        hooks.when_retiring(
            import_module("devices.configurations.services.effective").let_go
        )
        hooks.when_showing(
            import_module("devices.configurations.admin.device_panel").panel
        )
