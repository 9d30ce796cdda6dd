"""Run the bridge until SIGTERM or SIGINT."""

import asyncio
import signal
import sys

import provisioning.wsgi  # noqa: F401 # runs Django's setup, before the imports below

# isort: split

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from prometheus_client import start_http_server

from provisioning.mqtt import broker
from provisioning.mqtt.bridge import Bridge, ConnectionLost


async def main() -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if settings.MQTT_METRICS_PORT:
        start_http_server(settings.MQTT_METRICS_PORT, addr=settings.HOST)
    await Bridge().run(stop)


if __name__ == "__main__":
    try:
        broker.address()
        asyncio.run(main())
    except ImproperlyConfigured as error:
        sys.exit(str(error))
    except ConnectionLost:
        sys.exit("There was no connection to the MQTT broker for a minute.")
