"""Packages: made, filled with a file, released, withdrawn."""

import re
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Sum

from core.errors import DomainError
from core.uploads import Spooled
from devices.updates import apk
from devices.updates.errors import (
    InvalidApk,
    InvalidPackage,
    InvalidVersion,
    NoSuchPackage,
    OtherFile,
    PackageIsReleased,
    PackageNotReleased,
    PackageWithoutFile,
    QuotaExceeded,
    UploadTooLarge,
    VersionExists,
    WrongChecksum,
)
from devices.updates.events import PackageReleased, PackageUploaded, PackageWithdrawn
from devices.updates.models import SoftwareProduct, SoftwareUpdate
from devices.updates.services import package_files, products, rollout_control, signing
from devices.updates.versions import NoVersion, compared, parsed
from events.services.outbox import record
from tenants.context import current_caller

MOST_MODELS = 100
LONGEST_CHANGELOG = 20_000  # characters
SHA256 = re.compile(r"[0-9a-f]{64}")

State = SoftwareUpdate.State


def largest() -> int:
    """So many bytes may a package have."""
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
    """A draft of a version, still without its file.

    Args:
        target_models: of devices that it is for; none is all of them.
        minimum_version: a device has to have this one at least.

    Raises:
        NoSuchProduct, InvalidVersion, InvalidPackage: it cannot be as it is said.
        VersionExists: there is this version, written like this or otherwise.
    """
    product = products.hold(product)
    _check_version(product, version)
    said = {
        "changelog": changelog,
        "platform": platform,
        "target_models": list(target_models),
        "minimum_version": minimum_version,
    }
    row = SoftwareUpdate(
        product=product,
        version=version,
        created_by=current_caller().name,
        created_at=now,
        **said,
    )
    _check(row)
    row.save(force_insert=True)
    return row


@transaction.atomic
def change(*, package: SoftwareUpdate, **said: Any) -> SoftwareUpdate:
    """Say something else of a draft: changelog, platform, target_models, minimum_version.

    Raises:
        PackageIsReleased: it is none any more.
        InvalidVersion, InvalidPackage: see `create`.
    """
    row = _draft(package)
    for name, value in said.items():
        setattr(row, name, list(value) if name == "target_models" else value)
    _check(row)
    row.save(update_fields=list(said))
    return row


@transaction.atomic
def delete(*, package: SoftwareUpdate) -> None:
    """Drop a draft.

    Raises:
        PackageIsReleased: it is none any more: withdraw it.
    """
    row = _draft(package)
    transaction.on_commit(partial(package_files.drop, row.stored_name), robust=True)
    row.delete()


def receive(
    *, package: SoftwareUpdate, spooled: Spooled, sha256: str = "", now: datetime
) -> SoftwareUpdate:
    """Take a draft's file, in the place of the one before, and sign it.

    What is stored and belongs to nobody, because we were killed in between or nobody
    knows whether it was committed, is dropped by `drop_orphans`.

    Args:
        sha256: what it has to be, in hexadecimal; empty: whatever came.

    Raises:
        PackageIsReleased: it is immutable.
        InvalidPackage: it is empty.
        WrongChecksum, InvalidApk: nothing is kept.
    """
    check_sha256(sha256)
    if sha256 and sha256.lower() != spooled.sha256:
        raise WrongChecksum
    if not spooled.size:
        raise InvalidPackage("The file is empty.")
    facts = _facts(package, spooled.path)
    check_receivable(package, length=spooled.size)
    name = package_files.keep(package.pk, spooled)
    try:
        with transaction.atomic():
            key = signing.current_key(now=now)
            row = _draft(package)
            transaction.on_commit(
                partial(package_files.drop, row.stored_name), robust=True
            )
            row.stored_name, row.uploaded_at = name, now
            row.size, row.sha256 = spooled.size, spooled.sha256
            row.apk = facts.as_json() if facts else None
            row.signature = signing.signature(row, key, now=now)
            row.save()
            record(
                [
                    PackageUploaded(
                        **about(row, now), size=spooled.size, sha256=row.sha256
                    )
                ]
            )
    except DomainError:
        package_files.drop(name)
        raise
    return row


@transaction.atomic
def release(
    *, package: SoftwareUpdate, sha256: str | None = None, now: datetime
) -> SoftwareUpdate:
    """From now on it may be rolled out, and is not changed any more.

    Args:
        sha256: of the file that was looked at; None: whatever is there.

    Raises:
        OtherFile: that is another one by now.
        InvalidApk: another application was released for this product meanwhile.
        PackageIsReleased: it is already, or was withdrawn.
        PackageWithoutFile: there is nothing to be released.
    """
    products.hold(package.product)
    row = _draft(package)
    if not row.sha256:
        raise PackageWithoutFile
    if sha256 is not None and sha256 != row.sha256:
        raise OtherFile
    if row.apk is not None:
        _check_application(row, row.apk["application_id"])
    row.state, row.released_at = State.RELEASED, now
    row.save(update_fields=["state", "released_at"])
    record([PackageReleased(**about(row, now), sha256=row.sha256)])
    return row


@transaction.atomic
def withdraw(*, package: SoftwareUpdate, reason: str, now: datetime) -> SoftwareUpdate:
    """Nobody gets it any more: its rollouts end, and so does what devices have begun.

    Raises:
        PackageNotReleased: there is nothing to withdraw.
    """
    row = _held(package)
    if row.state != State.RELEASED:
        raise PackageNotReleased(row.state)
    row.state, row.withdrawn_at = State.WITHDRAWN, now
    row.withdrawn_because, row.is_closing = reason.strip()[:500], True
    row.save(update_fields=["state", "withdrawn_at", "withdrawn_because", "is_closing"])
    rollout_control.abort_all(package=row, now=now)
    record([PackageWithdrawn(**about(row, now), reason=row.withdrawn_because)])
    return row


def check_receivable(package: SoftwareUpdate, *, length: int | None = None) -> None:
    """Before anybody sends a file for it.

    Args:
        length: of the file, in bytes.

    Raises:
        PackageIsReleased: it takes none any more.
        UploadTooLarge, QuotaExceeded: there is no room for it.
    """
    if package.state != State.DRAFT:
        raise PackageIsReleased(package.state)
    if (length or 0) > largest():
        raise UploadTooLarge(largest())
    others = SoftwareUpdate.objects.exclude(pk=package.pk).exclude(stored_name="")
    used = others.aggregate(used=Sum("size"))["used"] or 0
    most = int(settings.PACKAGE_QUOTA_MB) * 1_000_000
    if used + (length or 0) > most:
        raise QuotaExceeded(used, most)


def check_sha256(sha256: str) -> None:
    """
    Raises:
        InvalidPackage: it is none.
    """
    if sha256 and not SHA256.fullmatch(sha256.lower()):
        raise InvalidPackage("64 hexadecimal digits.", field="sha256")


def drop_orphans(*, before: datetime) -> int:
    """Remove what was stored before a moment and is no package's file; how many."""
    dropped = 0
    for name in package_files.stored_before(before):
        if not SoftwareUpdate.every_tenant.filter(stored_name=name).exists():
            package_files.drop(name)
            dropped += 1
    return dropped


def about(row: SoftwareUpdate, now: datetime) -> dict[str, Any]:
    return {
        "tenant_id": row.tenant_id,
        "at": now,
        "package": str(row.pk),
        "product": row.product.name,
        "version": row.version,
    }


def _check_version(product: SoftwareProduct, version: str) -> None:
    try:
        parsed(version, product.versioning)
    except NoVersion as error:
        sentence = f"This is no version by {product.get_versioning_display()}."
        raise InvalidVersion(sentence, field="version") from error
    others = SoftwareUpdate.objects.filter(product=product)
    for other in others.values_list("version", flat=True):
        if compared(version, other, product.versioning) == 0:
            raise VersionExists(other)


def _check(row: SoftwareUpdate) -> None:
    if row.platform not in SoftwareUpdate.Platform.values:
        raise InvalidPackage("There is no such platform.", field="platform")
    if len(row.changelog) > LONGEST_CHANGELOG:
        sentence = f"At most {LONGEST_CHANGELOG:,} characters."
        raise InvalidPackage(sentence, field="changelog")
    if len(row.target_models) > MOST_MODELS or not all(
        0 < len(name.strip()) <= 64 for name in row.target_models
    ):
        sentence = f"At most {MOST_MODELS} models, each of 1 to 64 characters."
        raise InvalidPackage(sentence, field="target_models")
    if not row.minimum_version:
        return
    versioning = row.product.versioning
    try:
        parsed(row.minimum_version, versioning)
    except NoVersion as error:
        sentence = f"This is no version by {row.product.get_versioning_display()}."
        raise InvalidVersion(sentence, field="minimum_version") from error
    if compared(row.minimum_version, row.version, versioning) != -1:
        sentence = "It has to be an earlier version than the package's own."
        raise InvalidVersion(sentence, field="minimum_version")


def _facts(package: SoftwareUpdate, path: str) -> apk.ApkManifest | None:
    """
    Raises:
        InvalidApk: it is another version, or another application, than is expected.
    """
    try:
        facts = apk.facts(path)
    except apk.NoApk as error:
        raise InvalidApk(str(error)) from error
    if facts is None:
        return None
    if facts.version_name is not None and facts.version_name != package.version:
        sentence = f"The file says that it is version {facts.version_name}."
        raise InvalidApk(sentence)
    _check_application(package, facts.application_id)
    return facts


def _check_application(package: SoftwareUpdate, application_id: str) -> None:
    """
    Raises:
        InvalidApk: the product's packages before are another application.
    """
    earlier = SoftwareUpdate.objects.filter(product=package.product).released()
    known = earlier.exclude(apk=None).values_list("apk__application_id", flat=True)
    last = known.first()
    if last is not None and last != application_id:
        sentence = f"The file is {application_id}; this product is {last}."
        raise InvalidApk(sentence)


def _draft(package: SoftwareUpdate) -> SoftwareUpdate:
    row = _held(package)
    check_receivable(row)
    return row


def _held(package: SoftwareUpdate) -> SoftwareUpdate:
    rows = SoftwareUpdate.objects.select_related("product")
    row: SoftwareUpdate | None = (
        rows.select_for_update(of=("self",), no_key=True).filter(pk=package.pk).first()
    )
    if row is None:
        raise NoSuchPackage
    return row
