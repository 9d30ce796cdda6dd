"""One archive of everything that a tenant owns: its rows as JSON lines, and its files.

Secrets and their hashes are left out, because they are of no use elsewhere.
"""

import base64
import json
import zipfile
from collections.abc import Callable, Iterator
from contextvars import copy_context
from datetime import datetime
from typing import Any, ClassVar

from django.apps import apps
from django.core.files.storage import Storage, storages
from django.core.serializers.json import DjangoJSONEncoder
from django.db import close_old_connections, connection
from django.db.models import BinaryField, Model, QuerySet

from core.statement_limit import statement_limit
from tenants.models import Tenant, TenantOwned

SECRETS = frozenset(
    {"digest", "secret", "former_secret", "encrypted_token", "client_secret", "private_key"}
)
SAMPLES = frozenset({"metrics.devicemetrics", "metrics.hourlymetrics"})
ROWS_PER_CHUNK = 1000
IMAGES_PER_CHUNK = 10  # of rows that contain a file
MAX_SECONDS = 60.0  # for the statement of a chunk
BYTES_PER_CHUNK = 1 << 20  # of a file


def models_of_tenants() -> list[type[Model]]:
    """Return the models whose rows belong to tenants, in the order of their labels."""
    found = [
        model
        for model in apps.get_models()
        if tenant_path(model) and getattr(model, "is_exported", True)
    ]
    return sorted(found, key=lambda model: model._meta.label_lower)


def tenant_path(model: type[Model]) -> str:
    """Return the look-up of the tenant of a model's rows; "" if they belong to no tenant.

    It is the field `tenant`, or what the model says with `tenant_path`.
    """
    if issubclass(model, TenantOwned):
        return "tenant"
    path: str = getattr(model, "tenant_path", "")
    return path or ("tenant" if any(f.name == "tenant" for f in model._meta.fields) else "")


def rows_of(model: type[Model], tenant: Tenant) -> QuerySet[Any]:
    """Return the rows of a model that belong to a tenant. Call it in the tenant's scope."""
    manager = getattr(model, "every_tenant", model._default_manager)
    rows: QuerySet[Any] = manager.filter(**{tenant_path(model): tenant})
    return rows.order_by("pk")


def chunks(tenant: Tenant, *, with_samples: bool, now: datetime) -> Iterator[bytes]:
    """Yield a ZIP archive of a tenant, piece by piece. Call it in the tenant's scope.

    Each query is a short one, so that an archive holds no transaction. It is no snapshot of one
    moment: a row that is changed meanwhile is in it as it was before or after.

    Args:
        with_samples: whether single samples and their hourly roll-ups are included, which may be
            many gigabytes. The daily roll-ups are always included.
    """
    context = copy_context()

    def pieces() -> Iterator[bytes]:
        archive = _Archive()
        counts: dict[str, int] = {}
        missing: list[str] = []
        for model in models_of_tenants():
            label = model._meta.label_lower
            if label in SAMPLES and not with_samples:
                continue
            counts[label] = 0
            with archive.file(f"rows/{label}.jsonl") as write:
                for chunk in _chunks(context, rows_of(model, tenant)):
                    write(context.run(_lines, chunk))
                    counts[label] += len(chunk)
                    yield archive.taken()
            for storage, stored in _files(context, model, tenant):
                if not storage.exists(stored):
                    missing.append(stored)
                    continue
                name = f"files/{label}/{stored}"
                with archive.file(name) as write, storage.open(stored) as source:
                    while piece := source.read(BYTES_PER_CHUNK):
                        write(piece)
                        yield archive.taken()
        manifest = {
            "tenant": tenant.slug,
            "name": tenant.name,
            "made_at": now,
            "rows": counts,
            "missing_files": missing,
        }
        with archive.file("manifest.json") as write:
            write(json.dumps(manifest, indent=2, cls=DjangoJSONEncoder).encode())
        yield archive.finished()

    return (piece for piece in pieces() if piece)


class _Archive:
    """A ZIP file that is written to memory and taken from there."""

    _settings: ClassVar[dict[str, Any]] = {"compression": zipfile.ZIP_DEFLATED, "allowZip64": True}

    def __init__(self) -> None:
        self._buffer = _Buffer()
        self._zip = zipfile.ZipFile(self._buffer, "w", **self._settings)  # type: ignore[call-overload]

    def file(self, name: str) -> "_Member":
        return _Member(self._zip, name)

    def taken(self) -> bytes:
        return self._buffer.take()

    def finished(self) -> bytes:
        self._zip.close()
        return self._buffer.take()


class _Member:
    """A file in the archive, while it is written."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._file = archive.open(name, "w", force_zip64=True)

    def __enter__(self) -> Callable[[bytes], object]:
        return self._file.write

    def __exit__(self, *error: object) -> None:
        self._file.close()


class _Buffer:
    """A file that cannot be searched, as a response is."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


def _chunks(context: Any, rows: QuerySet[Any]) -> Iterator[list[Any]]:
    after: Any = None
    fields = rows.model._meta.concrete_fields
    has_files = any(isinstance(field, BinaryField) for field in fields)
    size = IMAGES_PER_CHUNK if has_files else ROWS_PER_CHUNK
    while True:
        chunk = context.run(_read, rows, after, size)
        if chunk:
            yield chunk
        if len(chunk) < size:
            return
        after = chunk[-1].pk


def _read(rows: QuerySet[Any], after: Any, size: int) -> list[Any]:
    if not connection.in_atomic_block:  # a thread that continues may have had it for long
        close_old_connections()
    rest = rows if after is None else rows.filter(pk__gt=after)
    with statement_limit(MAX_SECONDS):
        return list(rest[:size])


def _files(context: Any, model: type[Model], tenant: Tenant) -> Iterator[tuple[Storage, str]]:
    """Yield the storage and the name of each file that the rows of a model name.

    A model says with `stored_files` which fields name files, and in which storage they are.
    """
    fields: dict[str, str] = getattr(model, "stored_files", {})
    if fields:
        for chunk in _chunks(context, rows_of(model, tenant)):
            for row in chunk:
                for field, alias in fields.items():
                    if name := getattr(row, field):
                        yield storages[alias], name


def _lines(rows: list[Any]) -> bytes:
    return b"".join(
        json.dumps(_as_json(row), cls=DjangoJSONEncoder, ensure_ascii=False).encode() + b"\n"
        for row in rows
    )


def _as_json(row: Any) -> dict[str, Any]:
    fields = [field for field in row._meta.concrete_fields if field.name not in SECRETS]
    return {field.attname: _value(getattr(row, field.attname)) for field in fields}


def _value(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return base64.b64encode(bytes(value)).decode()
    return value
