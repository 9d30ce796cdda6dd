"""The entry of the push channel's server."""

from importlib import import_module

from provisioning.wsgi import answered  # sets Django up: what follows wants models

app = import_module("devices.remote_control.push.server").Application(answered)
