"""For which tenant the running code acts, and who called.

The answers are ContextVars, hence right under threads, asyncio and Celery alike.
No tenant means that nobody was named: a scoped query then finds nothing. Sweeps,
commands and the superuser's portal ask for every tenant by name, through
`Model.every_tenant`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
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

_tenant_id: ContextVar[UUID | None] = ContextVar("current_tenant_id", default=None)
_caller: ContextVar[Caller] = ContextVar("current_caller", default=SYSTEM)


def current_tenant_id() -> UUID | None:
    return _tenant_id.get()


def current_caller() -> Caller:
    return _caller.get()


@contextmanager
def tenant_scope(tenant_id: UUID | None) -> Iterator[None]:
    """Act for a tenant inside the `with` block, and for whoever it was after it."""
    token = _tenant_id.set(tenant_id)
    try:
        yield
    finally:
        _tenant_id.reset(token)


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


def bind_caller(kind: CallerKind, *, id: object, name: str) -> None:
    """Name the caller for the rest of the enclosing `caller_scope`."""
    _caller.set(replace(_caller.get(), kind=kind, id=str(id), name=name))
