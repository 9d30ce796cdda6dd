"""Create, rename and delete products."""

from datetime import datetime

from django.db import transaction

from core.locks import transaction_lock
from core.querysets import first_or_raise
from devices.updates.errors import InvalidProduct, ProductExists, ProductInUse, ProductNotFound
from devices.updates.events import ProductRenamed
from devices.updates.models import SoftwareProduct, SoftwareUpdate
from devices.updates.services import signing
from devices.updates.versions import CHOICES, PEP_440
from events.services.outbox import record
from tenants.context import current_tenant_id

Reports = SoftwareProduct.Reports
FileFormat = SoftwareProduct.FileFormat


@transaction.atomic
def create(
    *,
    name: str,
    versioning: str = PEP_440,
    reports: str = Reports.APP_VERSION,
    file_format: str = FileFormat.ANY,
    now: datetime,
) -> SoftwareProduct:
    """Create a product.

    Args:
        versioning: versioning scheme, a value of `versions.CHOICES`.
        reports: which version reported by a device is the version of this product.
        file_format: which files the packages may have.

    Raises:
        InvalidProduct: the name is empty, or another value is not a valid choice.
        ProductExists: a product with this name exists.
    """
    name = name.strip()
    if not name:
        raise InvalidProduct("The name must not be empty.", field="name")
    if versioning not in dict(CHOICES):
        sentence = f"Unknown versioning scheme. Choose one of {', '.join(dict(CHOICES))}."
        raise InvalidProduct(sentence, field="versioning")
    if reports not in Reports.values:
        sentence = f"Unknown version. Choose one of {', '.join(Reports.values)}."
        raise InvalidProduct(sentence, field="reports")
    if file_format not in FileFormat.values:
        sentence = f"Unknown format. Choose one of {', '.join(FileFormat.values)}."
        raise InvalidProduct(sentence, field="file_format")
    transaction_lock(f"products of {current_tenant_id()}")
    if SoftwareProduct.objects.filter(name=name).exists():
        raise ProductExists
    return SoftwareProduct.objects.create(
        name=name, versioning=versioning, reports=reports, file_format=file_format, created_at=now
    )


@transaction.atomic
def rename(*, product: SoftwareProduct, name: str, now: datetime) -> SoftwareProduct:
    """Rename a product. Sign its packages again, because the signature contains the name.

    Raises:
        InvalidProduct, ProductExists: see `create`.
    """
    name = name.strip()
    if not name:
        raise InvalidProduct("The name must not be empty.", field="name")
    transaction_lock(f"products of {current_tenant_id()}")
    key = signing.current_key_if_any()
    row = lock_product(product)
    if SoftwareProduct.objects.filter(name=name).exclude(pk=row.pk).exists():
        raise ProductExists
    before, row.name = row.name, name
    row.save(update_fields=["name"])
    if key is not None:
        signing.sign_packages(key, product=row, now=now)
    if before != name:
        event = ProductRenamed(
            tenant_id=current_tenant_id(),
            at=now,
            product=str(row.pk),
            changes={"name": (before, name)},
        )
        record([event])
    return row


@transaction.atomic
def delete(*, product: SoftwareProduct) -> None:
    """Delete a product.

    Raises:
        ProductInUse: the product has packages.
    """
    row = lock_product(product)
    if SoftwareUpdate.objects.filter(product=row).exists():
        raise ProductInUse
    row.delete()


def lock_product(product: SoftwareProduct) -> SoftwareProduct:
    """Lock a product. No other transaction can then add or release packages of this product.

    Raises:
        ProductNotFound: the product was deleted.
    """
    rows = SoftwareProduct.objects.select_for_update().filter(pk=product.pk)
    return first_or_raise(rows, ProductNotFound)
