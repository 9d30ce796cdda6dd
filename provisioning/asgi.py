"""ASGI entry point of the push server."""

from importlib import import_module

from provisioning.wsgi import full_response  # runs Django's setup, before the import below

app = import_module("provisioning.push_server").create(full_response)
