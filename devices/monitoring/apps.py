from importlib import import_module

from django.apps import AppConfig
from kombu.exceptions import OperationalError

from core.task_trigger import Waker
from tenants.hooks import when_something_happens


class MonitoringConfig(AppConfig):
    name = "devices.monitoring"
    label = "monitoring"

    def ready(self) -> None:
        receivers = import_module("devices.monitoring.services.subscribers")
        when_something_happens(receivers.new_tenants_begin_with_the_templates)
        arrivals = import_module("devices.monitoring.services.immediate_checks")
        evaluate = import_module("devices.monitoring.tasks").evaluate_devices

        def send() -> None:
            for device_ids in arrivals.take():
                named = [str(device_id) for device_id in device_ids]
                evaluate.apply_async([named], retry=False, expires=55)

        arrivals.wake_with(Waker(send, away=OperationalError))
        import_module("devices.metrics.extension_points").when_stored(arrivals.notice)
        hooks = import_module("devices.registry.extension_points")
        hooks.when_showing(import_module("devices.monitoring.admin.device_panel").panel)
