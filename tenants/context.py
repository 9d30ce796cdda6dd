"""The current tenant and the current caller of the running code.

The tenant and the caller are ContextVars, so they work with threads, asyncio and Celery.
Without a current tenant, a query of a tenant's model returns no rows. Code that works on
all tenants, such as periodic tasks, commands and the superuser's portal, needs both
`Model.every_tenant` and `every_tenant_scope`. `every_tenant_scope` sets the scope that
row-level security checks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Literal
from uuid import UUID

CallerKind = Literal["anonymous", "member", "enrollment_token", "gateway_token", "device", "system"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The user, device or system process for which the code runs, and its IP address.

    Every event stores the caller that caused it.
    """

    kind: CallerKind
    id: str = ""
    name: str = ""
    address: str | None = None
    request_id: str = ""


SYSTEM = Caller(kind="system")

EVERY_TENANT = "*"

_tenant_id: ContextVar[UUID | None] = ContextVar("current_tenant_id", default=None)
_every_tenant: ContextVar[bool] = ContextVar("every_tenant", default=False)
_caller: ContextVar[Caller] = ContextVar("current_caller", default=SYSTEM)


def current_tenant_id() -> UUID | None:
    return _tenant_id.get()


def current_caller() -> Caller:
    return _caller.get()


def caller_network() -> str:
    """Return the network of the caller's address."""
    return network_of(_caller.get().address)


def network_of(address: str | None) -> str:
    """Return an IPv4 address itself, or the /64 prefix of an IPv6 address.

    One customer usually has a whole /64 network, so it counts as one caller.
    """
    if address is None:
        return "unknown"
    parsed = ip_address(address)
    return address if parsed.version == 4 else parsed.exploded[:19]


def database_scope() -> str:
    """Return the scope for row-level security: a tenant's id, `*`, or an empty string."""
    if _every_tenant.get():
        return EVERY_TENANT
    tenant_id = _tenant_id.get()
    return "" if tenant_id is None else str(tenant_id)


@contextmanager
def tenant_scope(tenant_id: UUID | None) -> Iterator[None]:
    """Set the current tenant for the `with` block. Restore the previous scope after it."""
    tenant_token, every_tenant_token = (_tenant_id.set(tenant_id), _every_tenant.set(False))
    try:
        yield
    finally:
        _every_tenant.reset(every_tenant_token)
        _tenant_id.reset(tenant_token)


@contextmanager
def every_tenant_scope() -> Iterator[None]:
    """Let row-level security pass the rows of all tenants in the `with` block.

    Use it for periodic tasks, monitoring, event delivery, commands and superusers. Use it
    also to look up a credential of an unknown tenant. `Model.objects` is not affected.
    """
    token = _every_tenant.set(True)
    try:
        yield
    finally:
        _every_tenant.reset(token)


@contextmanager
def caller_scope(caller: Caller) -> Iterator[None]:
    """Set the current caller for the `with` block."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)


def bind_tenant(tenant_id: UUID | None) -> None:
    """Set or clear the current tenant for the rest of the enclosing `tenant_scope`."""
    _tenant_id.set(tenant_id)


def bind_every_tenant() -> None:
    """Let row-level security pass all tenants' rows until the enclosing `tenant_scope` ends."""
    _every_tenant.set(True)


def bind_caller(kind: CallerKind, *, id: object, name: str) -> None:
    """Set the caller for the rest of the enclosing `caller_scope`."""
    _caller.set(replace(_caller.get(), kind=kind, id=str(id), name=name))
