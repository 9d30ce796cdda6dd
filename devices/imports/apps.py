from django.apps import AppConfig


class ImportsConfig(AppConfig):
    name = "devices.imports"
    label = "imports"
    verbose_name = "Devices"
