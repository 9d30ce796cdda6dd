"""Extension point with which other packages set configuration keys on all devices."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from core.extension_points import ExtensionPoint

# A registered function returns the keys for every device of a tenant, by tenant. It is called in the
# scope of one tenant or of all tenants. Tenants without keys are left out. Operators
# cannot set these keys. Code that changes the result of such a function must call
# `recalculation.request` in the same transaction.
Keys = dict[str, Any]
server_keys: ExtensionPoint[Callable[[], Mapping[UUID, Keys]]] = ExtensionPoint(
    "keys set by the server"
)


def keys_set_by_server() -> Mapping[UUID, Keys]:
    """Return all keys that the server sets for devices, by tenant of the current scope.

    Tenants without keys are left out.
    """
    keys: defaultdict[UUID, Keys] = defaultdict(dict)
    for contribute in server_keys:
        for contributed_to, contributed in contribute().items():
            keys[contributed_to] |= contributed
    return keys
