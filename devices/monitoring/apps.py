from importlib import import_module

from django.apps import AppConfig
from kombu.exceptions import OperationalError

from events.waking import Waker
from tenants.hooks import when_something_happens


class MonitoringConfig(AppConfig):
    name = "devices.monitoring"
    label = "monitoring"

    def ready(self) -> None:
        receivers = import_module("devices.monitoring.receivers")
        when_something_happens(receivers.new_tenants_begin_with_the_templates)
        arrivals = import_module("devices.monitoring.arrivals")
        evaluate = import_module("devices.monitoring.tasks").evaluate_devices

        def send() -> None:
            for device_ids in arrivals.take():
                named = [str(device_id) for device_id in device_ids]
                evaluate.apply_async([named], retry=False, expires=55)

        arrivals.wake_with(Waker(send, away=OperationalError))
        import_module("devices.metrics.hooks").when_stored(arrivals.notice)
        hooks = import_module("devices.hooks")
        hooks.when_showing(import_module("devices.monitoring.portal").panel)
