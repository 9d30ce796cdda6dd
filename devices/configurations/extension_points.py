"""Extension point for configuration keys that packages above this one set."""

from collections.abc import Callable
from typing import Any

from core.extension_points import ExtensionPoint

# A contribution returns keys for every device of the current tenant. No operator can
# set these keys. Code that changes what a contribution returns must call
# `recalculation.ask` in the same transaction.
server_keys: ExtensionPoint[Callable[[], dict[str, Any]]] = ExtensionPoint("keys set by the server")


def keys_set_by_server() -> dict[str, Any]:
    """Return all keys that the server sets for the current tenant's devices."""
    keys: dict[str, Any] = {}
    for contribute in server_keys:
        keys |= contribute()
    return keys
