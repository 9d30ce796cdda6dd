"""Where the broker is, by the settings `MQTT_…`."""

import json
import ssl
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


def address() -> tuple[str, int, ssl.SSLContext | bool]:
    """Return host, port and TLS context of the broker.

    Raises:
        ImproperlyConfigured: `MQTT_URL` is missing or wrong.
    """
    parts = urlsplit(settings.MQTT_URL)
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
        raise ImproperlyConfigured("MQTT_URL must be set, for example mqtts://broker:8883.")
    if parts.scheme == "mqtt":
        return parts.hostname, parts.port or 1883, False
    context = ssl.create_default_context(cafile=settings.MQTT_CA_FILE or None)
    if settings.MQTT_CERTIFICATE_FILE:
        key = settings.MQTT_KEY_FILE or None
        context.load_cert_chain(settings.MQTT_CERTIFICATE_FILE, key)
    return parts.hostname, parts.port or 8883, context


def credentials() -> tuple[str, str | None] | None:
    """Return the user name and the password in `MQTT_URL`, if there are any."""
    parts = urlsplit(settings.MQTT_URL)
    if parts.username is None:
        return None
    return unquote(parts.username), None if parts.password is None else unquote(parts.password)


def too_many() -> bytes:
    """Return the error for a device that has too many unfinished messages."""
    detail = "The device has too many unfinished messages."
    error = {"code": "too_many_messages", "detail": detail, "attr": None}
    return json.dumps({"type": "client_error", "errors": [error]}).encode()
