"""The entry point of the push server's processes."""

from importlib import import_module

from provisioning.wsgi import answered  # sets Django up: the rest imports models

app = import_module("provisioning.push_server").create(answered)
