"""For which tenant the running code acts, and who called.

The answers are ContextVars, hence right under threads, asyncio and Celery alike.
No tenant means that nobody was named: a scoped query then finds nothing. Sweeps,
commands and the superuser's portal ask for every tenant by name, twice: by
`Model.every_tenant`, and by `every_tenant_scope`, which the database wants to see.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Literal
from uuid import UUID

CallerKind = Literal["anonymous", "member", "enrollment_token", "device", "system"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who makes the running code act, and from where; it stands on every event."""

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


def callers_network() -> str:
    """The caller's address; of IPv6 the /64 that one customer has to themselves."""
    address = _caller.get().address
    if address is None:
        return "unknown"
    parsed = ip_address(address)
    return address if parsed.version == 4 else parsed.exploded[:19]


def database_scope() -> str:
    """What the database is told of the scope: a tenant's id, `*`, or nothing."""
    if _every_tenant.get():
        return EVERY_TENANT
    tenant_id = _tenant_id.get()
    return "" if tenant_id is None else str(tenant_id)


@contextmanager
def tenant_scope(tenant_id: UUID | None) -> Iterator[None]:
    """Act for a tenant inside the `with` block, and for whoever it was after it."""
    token, wide = _tenant_id.set(tenant_id), _every_tenant.set(False)
    try:
        yield
    finally:
        _every_tenant.reset(wide)
        _tenant_id.reset(token)


@contextmanager
def every_tenant_scope() -> Iterator[None]:
    """See over the wall inside the `with` block.

    For the sweep, the monitor, the delivery, commands, the superuser, and for finding
    out whose credential it is that came. It does not change what `Model.objects` finds.
    """
    wide = _every_tenant.set(True)
    try:
        yield
    finally:
        _every_tenant.reset(wide)


@contextmanager
def caller_scope(caller: Caller) -> Iterator[None]:
    """Act on behalf of a caller inside the `with` block."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)


def bind_tenant(tenant_id: UUID | None) -> None:
    """Name the tenant for the rest of the enclosing `tenant_scope`; None is nobody."""
    _tenant_id.set(tenant_id)


def bind_every_tenant() -> None:
    """See over the wall for the rest of the enclosing `tenant_scope`: the superuser."""
    _every_tenant.set(True)


def bind_caller(kind: CallerKind, *, id: object, name: str) -> None:
    """Name the caller for the rest of the enclosing `caller_scope`."""
    _caller.set(replace(_caller.get(), kind=kind, id=str(id), name=name))
