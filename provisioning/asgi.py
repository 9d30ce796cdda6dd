"""ASGI entry point of the push server."""

from importlib import import_module

from provisioning.wsgi import full_response  # runs Django's setup, needed by the import

app = import_module("devices.remote_control.push.server").Application(full_response)
