"""Create, release and withdraw packages, and receive the files of packages."""

import re
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Sum

from core.errors import DomainError
from core.querysets import first_or_raise
from core.uploads import UploadedFile
from devices.updates.errors import (
    InvalidPackage,
    InvalidVersion,
    PackageFileChanged,
    PackageImmutable,
    PackageNotFound,
    PackageNotReleased,
    PackageWithoutFile,
    QuotaExceeded,
    UploadTooLarge,
    VersionExists,
    WrongChecksum,
)
from devices.updates.events import PackageReleased, PackageUploaded, PackageWithdrawn
from devices.updates.models import SoftwareProduct, SoftwareUpdate
from devices.updates.services import apk_checks, package_files, products, rollout_control, signing
from devices.updates.versions import MalformedVersion, compare_versions, parse_version
from events.services.outbox import record
from tenants.context import current_caller

MAX_TARGET_MODELS = 100
MAX_CHANGELOG_LENGTH = 20_000  # characters
SHA256 = re.compile(r"[0-9a-f]{64}")

State = SoftwareUpdate.State


def max_package_size() -> int:
    """Return the maximum size of a package in bytes."""
    return int(settings.PACKAGE_LIMIT_MB) * 1_000_000


@transaction.atomic
def create(
    *,
    product: SoftwareProduct,
    version: str,
    changelog: str = "",
    platform: str = SoftwareUpdate.Platform.ANDROID,
    target_models: Sequence[str] = (),
    minimum_version: str = "",
    now: datetime,
) -> SoftwareUpdate:
    """Create the draft of a package. The file is received later.

    Args:
        target_models: device models that the package is for; empty means all models.
        minimum_version: oldest version from which a device can be updated.

    Raises:
        ProductNotFound: the product was deleted.
        InvalidVersion, InvalidPackage: a value is invalid.
        VersionExists: the product has an equal version, even if written differently.
    """
    product = products.lock_product(product)
    _check_version(product, version)
    row = SoftwareUpdate(
        product=product,
        version=version,
        changelog=changelog,
        platform=platform,
        target_models=list(target_models),
        minimum_version=minimum_version,
        created_by=current_caller().name,
        created_at=now,
    )
    _validate(row)
    row.save(force_insert=True)
    return row


@transaction.atomic
def change(*, package: SoftwareUpdate, **values: Any) -> SoftwareUpdate:
    """Change the draft of a package.

    Args:
        values: `changelog`, `platform`, `target_models` or `minimum_version`.

    Raises:
        PackageImmutable: the package is not a draft.
        InvalidVersion, InvalidPackage: a value is invalid.
    """
    row = _lock_draft(package)
    for name, value in values.items():
        setattr(row, name, list(value) if name == "target_models" else value)
    _validate(row)
    row.save(update_fields=list(values))
    return row


@transaction.atomic
def delete(*, package: SoftwareUpdate) -> None:
    """Delete the draft of a package and its file.

    Raises:
        PackageImmutable: the package is not a draft.
    """
    row = _lock_draft(package)
    transaction.on_commit(partial(package_files.delete, row.stored_name), robust=True)
    row.delete()


def receive(
    *, package: SoftwareUpdate, spooled: UploadedFile, sha256: str = "", now: datetime
) -> SoftwareUpdate:
    """Store and sign the file of a draft. The previous file of the draft is replaced.

    A file without a package can be left behind if the process is killed, or if the
    result of the commit is unknown. `delete_orphaned_files` deletes such a file.

    Args:
        sha256: expected hash in hexadecimal. If empty, the hash is not checked.

    Raises:
        PackageImmutable: the package is not a draft.
        InvalidPackage: the file is empty, or `sha256` is malformed.
        WrongChecksum: the hash of the file differs. Nothing is stored.
        InvalidApk: see `apk_checks.read_file`. Nothing is stored.
        UploadTooLarge, QuotaExceeded: the file is too large. Nothing is stored.
    """
    check_sha256(sha256)
    if sha256 and sha256.lower() != spooled.sha256:
        raise WrongChecksum
    if not spooled.size:
        raise InvalidPackage("The file is empty.")
    content = apk_checks.read_file(package, spooled.path)
    check_receivable(package, length=spooled.size)
    name = package_files.store(package.pk, spooled)
    try:
        with transaction.atomic():
            key = signing.create_keys(now=now)
            row = _lock_draft(package)
            transaction.on_commit(partial(package_files.delete, row.stored_name), robust=True)
            row.stored_name, row.uploaded_at = name, now
            row.size, row.sha256 = spooled.size, spooled.sha256
            row.sha1, row.md5 = spooled.sha1, spooled.md5
            row.apk = content.as_json() if content else None
            row.signature = signing.signature(row, key, now=now)
            row.save()
            record(
                [PackageUploaded(**event_fields(row, now), size=spooled.size, sha256=row.sha256)]
            )
    except DomainError:
        package_files.delete(name)
        raise
    return row


@transaction.atomic
def release(
    *,
    package: SoftwareUpdate,
    sha256: str | None = None,
    confirm_signer: bool = False,
    now: datetime,
) -> SoftwareUpdate:
    """Release the draft of a package. A released package is immutable and can be rolled out.

    Args:
        sha256: hash of the file that the member has checked; None skips the check.
        confirm_signer: the member confirms that the file has another signer than the product's
            released packages, or none.

    Raises:
        PackageFileChanged: the file has another hash now.
        InvalidApk: another application, or a higher version code, was released for this
            product meanwhile.
        SignerNotConfirmed: the file has another signer, and `confirm_signer` is False.
        PackageImmutable: the package is not a draft.
        PackageWithoutFile: the package has no file.
    """
    products.lock_product(package.product)
    row = _lock_draft(package)
    if not row.sha256:
        raise PackageWithoutFile
    if sha256 is not None and sha256 != row.sha256:
        raise PackageFileChanged
    if row.apk is not None:
        apk_checks.check_application(row, row.apk["application_id"], row.apk["version_code"])
        apk_checks.check_signer(row, is_confirmed=confirm_signer)
    row.state, row.released_at = State.RELEASED, now
    row.save(update_fields=["state", "released_at"])
    record([PackageReleased(**event_fields(row, now), sha256=row.sha256)])
    return row


@transaction.atomic
def withdraw(*, package: SoftwareUpdate, reason: str, now: datetime) -> SoftwareUpdate:
    """Withdraw a released package and abort its rollouts.

    Updates that are not being installed yet are cancelled.

    Raises:
        PackageNotReleased: the package is not released.
    """
    row = _lock_package(package)
    if row.state != State.RELEASED:
        raise PackageNotReleased(row.state)
    row.state, row.withdrawn_at = State.WITHDRAWN, now
    row.withdrawn_because, row.is_closing = reason.strip()[:500], True
    row.save(update_fields=["state", "withdrawn_at", "withdrawn_because", "is_closing"])
    rollout_control.abort_all(package=row, now=now)
    record([PackageWithdrawn(**event_fields(row, now), reason=row.withdrawn_because)])
    return row


def check_receivable(package: SoftwareUpdate, *, length: int | None = None) -> None:
    """Check that a package accepts a file. The file has not been received yet.

    Args:
        length: size of the file in bytes; None if there is no file to check.

    Raises:
        PackageImmutable: the package is not a draft.
        UploadTooLarge: the file is larger than the limit.
        QuotaExceeded: the tenant's packages would exceed the quota.
    """
    if package.state != State.DRAFT:
        raise PackageImmutable(package.state)
    if (length or 0) > max_package_size():
        raise UploadTooLarge(max_package_size())
    others = SoftwareUpdate.objects.exclude(pk=package.pk).exclude(stored_name="")
    used = others.aggregate(used=Sum("size"))["used"] or 0
    quota = int(settings.PACKAGE_QUOTA_MB) * 1_000_000
    if used + (length or 0) > quota:
        raise QuotaExceeded(used, quota)


def check_sha256(sha256: str) -> None:
    """Check the format of an expected hash. An empty string is accepted.

    Raises:
        InvalidPackage: the hash does not have 64 hexadecimal digits.
    """
    if sha256 and not SHA256.fullmatch(sha256.lower()):
        sentence = "The SHA-256 must have 64 hexadecimal digits."
        raise InvalidPackage(sentence, field="sha256")


def delete_orphaned_files(*, before: datetime) -> int:
    """Delete old files that belong to no package. Return the number of deleted files.

    Args:
        before: files stored after this time are kept.
    """
    deleted = 0
    for name in package_files.names_stored_before(before):
        if not SoftwareUpdate.every_tenant.filter(stored_name=name).exists():
            package_files.delete(name)
            deleted += 1
    return deleted


def event_fields(row: SoftwareUpdate, now: datetime) -> dict[str, Any]:
    """Return the fields that all events of a package have."""
    return {
        "tenant_id": row.tenant_id,
        "at": now,
        "package": str(row.pk),
        "product": row.product.name,
        "version": row.version,
    }


def _check_version(product: SoftwareProduct, version: str) -> None:
    try:
        parse_version(version, product.versioning)
    except MalformedVersion as error:
        sentence = f"Not a valid {product.get_versioning_display()} version."
        raise InvalidVersion(sentence, field="version") from error
    others = SoftwareUpdate.objects.filter(product=product)
    for other in others.values_list("version", flat=True):
        if compare_versions(version, other, product.versioning) == 0:
            raise VersionExists(other)


def _validate(row: SoftwareUpdate) -> None:
    if row.platform not in SoftwareUpdate.Platform.values:
        choices = ", ".join(SoftwareUpdate.Platform.values)
        sentence = f"Unknown platform. Choose one of {choices}."
        raise InvalidPackage(sentence, field="platform")
    if len(row.changelog) > MAX_CHANGELOG_LENGTH:
        sentence = f"The changelog can have at most {MAX_CHANGELOG_LENGTH:,} characters."
        raise InvalidPackage(sentence, field="changelog")
    if len(row.target_models) > MAX_TARGET_MODELS or not all(
        0 < len(name.strip()) <= 64 for name in row.target_models
    ):
        sentence = f"Give at most {MAX_TARGET_MODELS} models of 1 to 64 characters each."
        raise InvalidPackage(sentence, field="target_models")
    if not row.minimum_version:
        return
    versioning = row.product.versioning
    try:
        parse_version(row.minimum_version, versioning)
    except MalformedVersion as error:
        sentence = f"Not a valid {row.product.get_versioning_display()} version."
        raise InvalidVersion(sentence, field="minimum_version") from error
    if compare_versions(row.minimum_version, row.version, versioning) != -1:
        sentence = "The minimum version must be older than the package's version."
        raise InvalidVersion(sentence, field="minimum_version")


def _lock_draft(package: SoftwareUpdate) -> SoftwareUpdate:
    row = _lock_package(package)
    check_receivable(row)
    return row


def _lock_package(package: SoftwareUpdate) -> SoftwareUpdate:
    rows = SoftwareUpdate.objects.select_related("product")
    return first_or_raise(
        rows.select_for_update(of=("self",), no_key=True).filter(pk=package.pk), PackageNotFound
    )
