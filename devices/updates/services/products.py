"""What is installed on devices: products, and how their versions are numbered."""

from datetime import datetime

from django.db import transaction

from core.locks import in_turn
from devices.updates.errors import (
    InvalidProduct,
    NoSuchProduct,
    ProductExists,
    ProductInUse,
)
from devices.updates.events import ProductRenamed
from devices.updates.models import SoftwareProduct, SoftwareUpdate
from devices.updates.services import signing
from devices.updates.versions import CHOICES, PEP_440
from events.services.outbox import record
from tenants.context import current_tenant_id

Reports = SoftwareProduct.Reports


@transaction.atomic
def create(
    *,
    name: str,
    versioning: str = PEP_440,
    reports: str = Reports.APP_VERSION,
    now: datetime,
) -> SoftwareProduct:
    """
    Args:
        reports: which of the versions that a device reports is this product's.

    Raises:
        InvalidProduct: it has no name, or is numbered in no known way.
        ProductExists: there is one of this name.
    """
    name = name.strip()
    if not name:
        raise InvalidProduct("It needs a name.", field="name")
    if versioning not in dict(CHOICES):
        raise InvalidProduct("There is no such way of numbering.", field="versioning")
    if reports not in Reports.values:
        raise InvalidProduct("A device reports no such version.", field="reports")
    in_turn(f"products of {current_tenant_id()}")
    if SoftwareProduct.objects.filter(name=name).exists():
        raise ProductExists
    return SoftwareProduct.objects.create(
        name=name, versioning=versioning, reports=reports, created_at=now
    )


@transaction.atomic
def rename(*, product: SoftwareProduct, name: str, now: datetime) -> SoftwareProduct:
    """Call it otherwise; what was signed under its name is signed anew.

    Raises:
        InvalidProduct, ProductExists: see `create`.
    """
    name = name.strip()
    if not name:
        raise InvalidProduct("It needs a name.", field="name")
    in_turn(f"products of {current_tenant_id()}")
    key = signing.current_key_if_any()
    row = hold(product)
    if SoftwareProduct.objects.filter(name=name).exclude(pk=row.pk).exists():
        raise ProductExists
    before, row.name = row.name, name
    row.save(update_fields=["name"])
    if key is not None:
        signing.sign_anew(key, product=row, now=now)
    if before != name:
        tenant_id, changes = current_tenant_id(), {"name": (before, name)}
        fact = ProductRenamed(
            tenant_id=tenant_id, at=now, product=str(row.pk), changes=changes
        )
        record([fact])
    return row


@transaction.atomic
def delete(*, product: SoftwareProduct) -> None:
    """
    Raises:
        ProductInUse: there are packages of it.
    """
    row = hold(product)
    if SoftwareUpdate.objects.filter(product=row).exists():
        raise ProductInUse
    row.delete()


def hold(product: SoftwareProduct) -> SoftwareProduct:
    """Lock it: its versions are compared with each other."""
    rows = SoftwareProduct.objects.select_for_update().filter(pk=product.pk)
    row: SoftwareProduct | None = rows.first()
    if row is None:
        raise NoSuchProduct
    return row
