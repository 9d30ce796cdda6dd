from django.apps import AppConfig


class MetricsConfig(AppConfig):
    name = "devices.metrics"
    label = "metrics"
