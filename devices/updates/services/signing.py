"""Sign packages and update orders with the tenant's key, so that devices can verify them.

A signature is a JSON Web Signature in compact form (RFC 7515) by a key of the tenant: Ed25519
(RFC 8037), or P-256 for devices that cannot verify Ed25519. It covers the hash of the file, so the file may come from anywhere.
The public key is part of the configuration of every device.

An update order is an instruction to one device to install an update.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from core import jws
from devices.configurations.services import recalculation
from devices.registry.signature_algorithms import ALGORITHMS, EDDSA
from devices.remote_control.services import signing_keys
from devices.updates.events import UpdateKeyReplaced
from devices.updates.models import SoftwareProduct, SoftwareUpdate, UpdateSigningKey, UpdateStatus
from events.services.outbox import record
from tenants.context import current_tenant_id

ORDER_VALIDITY = timedelta(hours=1)  # then the device requests a new order


def current_key(algorithm: str = EDDSA, *, now: datetime) -> UpdateSigningKey:
    """Return the current tenant's signing key. Create a key if the tenant has none.

    Must run in a transaction. The key is not replaced before the transaction ends. A new
    key is published to the devices with their configurations.
    """
    signing_keys.lock_active_key(UpdateSigningKey)
    if (key := signing_keys.active(UpdateSigningKey, algorithm)) is not None:
        return key
    recalculation.request(now=now)
    return signing_keys.current(UpdateSigningKey, algorithm, now=now)


def by_preference(key: UpdateSigningKey) -> int:
    """Return a key for sorting: Ed25519 first, which the devices of earlier releases know."""
    return ALGORITHMS.index(key.algorithm)


def create_keys(*, now: datetime) -> UpdateSigningKey:
    """Create the missing keys of all algorithms, and return the Ed25519 key.

    Must run in a transaction. Devices then have the keys before they are offered a package.
    """
    return {name: current_key(name, now=now) for name in ALGORITHMS}[EDDSA]


def current_key_if_any() -> UpdateSigningKey | None:
    """Lock and return the current tenant's signing key; None if the tenant has no key."""
    signing_keys.lock_active_key(UpdateSigningKey)
    return signing_keys.active(UpdateSigningKey, EDDSA)


@transaction.atomic
def replace_key(*, now: datetime) -> UpdateSigningKey:
    """Replace the tenant's signing keys, and sign all packages again.

    Devices get the new public key with their configurations.
    """
    key = signing_keys.replace(UpdateSigningKey, now=now)
    sign_packages(key, now=now)
    recalculation.request(now=now)
    record([UpdateKeyReplaced(tenant_id=current_tenant_id(), at=now, thumbprint=key.thumbprint)])
    return key


def sign_packages(
    key: UpdateSigningKey, *, product: SoftwareProduct | None = None, now: datetime
) -> None:
    """Sign all packages that devices may still get.

    Args:
        product: sign only the packages of this product.
    """
    packages = SoftwareUpdate.objects.active_with_file().select_related("product")
    if product is not None:
        packages = packages.filter(product=product)
    rows = list(packages.select_for_update(of=("self",), no_key=True).order_by("pk"))
    for row in rows:
        row.signature = signature(row, key, now=now)
    SoftwareUpdate.objects.bulk_update(rows, ["signature"], batch_size=500)


def signature(package: SoftwareUpdate, key: UpdateSigningKey, *, now: datetime) -> str:
    """Return the signature of a package as a JWS with the claim `iat` (RFC 7519)."""
    header = {"kid": key.thumbprint, "typ": "update+jws"}
    claims = {
        "package": str(package.pk),
        "product": package.product.name,
        "version": package.version,
        "size": package.size,
        "sha256": package.sha256,
        "iat": int(now.timestamp()),
    }
    return jws.sign(header, claims, signing_keys.private_key(key))


def order(status: UpdateStatus, key: UpdateSigningKey, *, now: datetime) -> str:
    """Return a signed update order as a JWS with the claims `aud` and `exp` (RFC 7519).

    The order is valid for one device and for the period `ORDER_VALIDITY`. An
    earlier order therefore cannot be replayed to downgrade a device.
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
        "exp": int((now + ORDER_VALIDITY).timestamp()),
    }
    return jws.sign(header, claims, signing_keys.private_key(key))


def reencrypt() -> dict[str, int]:
    """Encrypt the keys of all tenants with the current `SECRET_KEY`. Return their number.

    Raises:
        DecryptionError: a key was encrypted with a secret that is not among the fallbacks.
    """
    return {"update_signing_keys": signing_keys.reencrypt(UpdateSigningKey)}


def configuration_keys() -> dict[UUID, dict[str, Any]]:
    """Return the public keys as a part of device configurations, by tenant of the scope."""
    rows = UpdateSigningKey.every_tenant.filter(replaced_at__isnull=True)
    published: dict[UUID, dict[str, Any]] = {}
    for key in sorted(rows, key=by_preference):
        if key.tenant_id:
            keys = published.setdefault(key.tenant_id, {"update_keys": []})["update_keys"]
            keys.append(signing_keys.jwk(key))
    return published
