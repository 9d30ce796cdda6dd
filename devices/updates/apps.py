from importlib import import_module

from django.apps import AppConfig
from kombu.exceptions import OperationalError

from events.waking import Waker
from provisioning.encryption import when_reencrypting


class UpdatesConfig(AppConfig):
    name = "devices.updates"
    label = "updates"
    verbose_name = "software updates"

    def ready(self) -> None:
        targets = import_module("devices.updates.targets")
        targets.found_with(import_module("devices.updates.api.filters").found_devices)
        work = import_module("devices.updates.tasks").work_rollouts
        import_module("devices.updates.deployments").wake_with(
            Waker(
                lambda: work.apply_async(retry=False, expires=55), away=OperationalError
            )
        )
        signing = import_module("devices.updates.signing")
        when_reencrypting("update_signing_keys", signing.reencrypt)
        configurations = import_module("devices.configurations.hooks")
        configurations.when_saying(signing.in_configurations)
        hooks = import_module("devices.hooks")
        hooks.when_retiring(import_module("devices.updates.endings").let_go)
        hooks.when_showing(import_module("devices.updates.portal").panel)
