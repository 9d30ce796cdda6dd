"""Packages as a device can believe them: signed by its tenant.

What is signed are the facts of a package, as a JSON Web Signature in compact form
(RFC 7515) by an Ed25519 key of its tenant (RFC 8037): its hash among them, so the file
may come from anywhere. The key's public half is in the configuration of every device.
"""

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from core import jws
from devices.configurations.services import recalculation
from devices.remote_control.services import signing_keys
from devices.updates.events import UpdateKeyReplaced
from devices.updates.models import (
    SoftwareProduct,
    SoftwareUpdate,
    UpdateSigningKey,
    UpdateStatus,
)
from events.services.outbox import record
from tenants.context import current_tenant_id

ORDERED = timedelta(hours=1)  # for so long an order is good; then it is asked for anew


def current_key(*, now: datetime) -> UpdateSigningKey:
    """The key that signs for the current tenant; its devices hear of the first one.

    In a transaction, up to whose end nobody replaces it.
    """
    signing_keys.take_turn(UpdateSigningKey)
    if (found := _current()) is not None:
        return found
    recalculation.ask(now=now)
    return signing_keys.current(UpdateSigningKey, now=now)


def current_key_if_any() -> UpdateSigningKey | None:
    """The same, if there is one already."""
    signing_keys.take_turn(UpdateSigningKey)
    return _current()


@transaction.atomic
def replace_key(*, now: datetime) -> UpdateSigningKey:
    """Sign with a new key: all packages anew, and every device is told of it."""
    key = signing_keys.replace(UpdateSigningKey, now=now)
    sign_anew(key, now=now)
    recalculation.ask(now=now)
    record(
        [
            UpdateKeyReplaced(
                tenant_id=current_tenant_id(), at=now, thumbprint=key.thumbprint
            )
        ]
    )
    return key


def sign_anew(
    key: UpdateSigningKey, *, product: SoftwareProduct | None = None, now: datetime
) -> None:
    """Every package that a device may still be given, or those of a product."""
    packages = SoftwareUpdate.objects.signed_ones().select_related("product")
    if product is not None:
        packages = packages.filter(product=product)
    rows = list(packages.select_for_update(of=("self",), no_key=True).order_by("pk"))
    for row in rows:
        row.signature = signature(row, key, now=now)
    SoftwareUpdate.objects.bulk_update(rows, ["signature"], batch_size=500)


def signature(package: SoftwareUpdate, key: UpdateSigningKey, *, now: datetime) -> str:
    """What is believed of a package; `iat` as in RFC 7519."""
    header = {"kid": key.thumbprint, "typ": "update+jws"}
    claims = {
        "package": str(package.pk),
        "product": package.product.name,
        "version": package.version,
        "size": package.size,
        "sha256": package.sha256,
        "iat": int(now.timestamp()),
    }
    return jws.signed(header, claims, signing_keys.private_half(key))


def order(status: UpdateStatus, key: UpdateSigningKey, *, now: datetime) -> str:
    """What a device is told to do, for it alone and for a time; `exp` as in RFC 7519.

    So nobody can have it go back, or install an earlier package, by what was signed once.
    """
    header = {"kid": key.thumbprint, "typ": "update-order+jws"}
    package = status.package
    claims = {
        "aud": str(status.device_id),
        "rollout": str(status.deployment_id),
        "attempt": status.attempt,
        "product": status.deployment.product.name,
        "version": status.version,
        "rollback": status.deployment.rolls_back_id is not None,
        "sha256": package.sha256 if package else None,
        "iat": int(now.timestamp()),
        "exp": int((now + ORDERED).timestamp()),
    }
    return jws.signed(header, claims, signing_keys.private_half(key))


def reencrypt() -> dict[str, int]:
    """Encrypt every tenant's keys with the present `SECRET_KEY`; return how many.

    Raises:
        NotReadable: one was encrypted with a key that is not among the fallbacks.
    """
    return {"update_signing_keys": signing_keys.reencrypt(UpdateSigningKey)}


def in_configurations() -> dict[str, Any]:
    """What the configuration of each device of the current tenant says of the keys."""
    key = _current()
    return {} if key is None else {"update_keys": [signing_keys.jwk(key)]}


def _current() -> UpdateSigningKey | None:
    found: UpdateSigningKey | None = UpdateSigningKey.objects.filter(
        replaced_at__isnull=True
    ).first()
    return found
