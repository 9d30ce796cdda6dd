from importlib import import_module

from django.apps import AppConfig
from kombu.exceptions import OperationalError

from core.encryption import when_reencrypting
from core.task_trigger import Waker


class UpdatesConfig(AppConfig):
    name = "devices.updates"
    label = "updates"
    verbose_name = "software updates"

    def ready(self) -> None:
        targets = import_module("devices.updates.services.targets")
        targets.found_with(import_module("devices.updates.api.filters").found_devices)
        work = import_module("devices.updates.tasks").work_rollouts
        import_module("devices.updates.services.rollouts").wake_with(
            Waker(
                lambda: work.apply_async(retry=False, expires=55), away=OperationalError
            )
        )
        signing = import_module("devices.updates.services.signing")
        when_reencrypting("update_signing_keys", signing.reencrypt)
        configurations = import_module("devices.configurations.extension_points")
        configurations.when_saying(signing.in_configurations)
        hooks = import_module("devices.registry.extension_points")
        hooks.when_retiring(
            import_module("devices.updates.services.status_changes").let_go
        )
        hooks.when_showing(import_module("devices.updates.admin.device_panel").panel)
