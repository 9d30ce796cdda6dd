from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register
from django.utils.module_loading import import_string

from core.extension_points import ExtensionPoint


class CoreConfig(AppConfig):
    name = "core"

    def ready(self) -> None:
        register(check_extension_points)


def check_extension_points(**kwargs: Any) -> list[CheckMessage]:
    """Return an error for every registered extension path that cannot be imported."""
    errors: list[CheckMessage] = []
    for point in ExtensionPoint.known:
        for path in point.paths:
            try:
                import_string(path)
            except ImportError as error:
                message = f"{path}, registered at {point.name}: {error}"
                errors.append(Error(message, id="core.E001"))
    return errors
