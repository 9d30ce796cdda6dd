from django.apps import AppConfig


class MonitoringConfig(AppConfig):
    name = "devices.monitoring"
    label = "monitoring"
