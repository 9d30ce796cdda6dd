"""Run the bridge until SIGTERM or SIGINT."""

import asyncio
import signal
import sys

import provisioning.wsgi  # noqa: F401 # runs Django's setup, before the imports below

# isort: split

from django.core.exceptions import ImproperlyConfigured

from provisioning.mqtt.bridge import Bridge, broker_address


async def main() -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Bridge().run(stop)


if __name__ == "__main__":
    try:
        broker_address()
    except ImproperlyConfigured as error:
        sys.exit(str(error))
    asyncio.run(main())
