from importlib import import_module

from django.apps import AppConfig
from kombu.exceptions import OperationalError

from core.encryption import when_reencrypting
from core.task_trigger import Waker


class RemoteControlConfig(AppConfig):
    name = "devices.remote_control"
    label = "remote_control"
    verbose_name = "remote control"

    def ready(self) -> None:
        bulk = import_module("devices.remote_control.services.bulk_commands")
        bulk.found_with(import_module("devices.remote_control.api.filters").found)
        work = import_module("devices.remote_control.tasks").work_bulk_commands
        bulk.wake_with(
            Waker(
                lambda: work.apply_async(retry=False, expires=55), away=OperationalError
            )
        )
        when_reencrypting(
            "command_signing_keys",
            import_module("devices.remote_control.services.signing").reencrypt,
        )
        hooks = import_module("devices.registry.extension_points")
        hooks.when_telling(
            import_module("devices.remote_control.services.connect_response").tell
        )
        retiring = import_module("devices.remote_control.services.retirement")
        hooks.when_retiring(retiring.let_go, first=True)
        hooks.when_showing(
            import_module("devices.remote_control.admin.control_page").panel
        )
