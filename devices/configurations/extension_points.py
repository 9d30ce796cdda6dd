"""Extension point with which other packages set configuration keys on all devices."""

from collections.abc import Callable
from typing import Any

from core.extension_points import ExtensionPoint

# A registered function returns keys for every device of the current tenant. Operators
# cannot set these keys. Code that changes the result of such a function must call
# `recalculation.request` in the same transaction.
server_keys: ExtensionPoint[Callable[[], dict[str, Any]]] = ExtensionPoint("keys set by the server")


def keys_set_by_server() -> dict[str, Any]:
    """Return all keys that the server sets for the current tenant's devices."""
    keys: dict[str, Any] = {}
    for contribute in server_keys:
        keys |= contribute()
    return keys
