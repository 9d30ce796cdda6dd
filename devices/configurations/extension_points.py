"""What packages above add to the configuration of every device of a tenant."""

from collections.abc import Callable
from typing import Any

from core.extension_points import ExtensionPoint

# Returns keys for every device of the current tenant; no operator can set them. Whoever
# changes what it returns calls `recalculation.request` in the same transaction.
server_keys: ExtensionPoint[Callable[[], dict[str, Any]]] = ExtensionPoint(
    "keys set by the server"
)


def keys_set_by_server() -> dict[str, Any]:
    """All keys that packages above set for the current tenant's devices."""
    keys: dict[str, Any] = {}
    for contribute in server_keys:
        keys |= contribute()
    return keys
