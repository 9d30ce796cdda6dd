"""The signing keys of a tenant. One key for each purpose is active.

Each key is an Ed25519 key (RFC 8032). It is created when it is first needed. The private key is
encrypted in the database.
"""

import json
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import transaction

from core.encryption import decrypt, encrypt
from core.jws import base64url_decode, base64url_encode
from core.locks import transaction_lock
from devices.remote_control.models import SigningKey
from tenants.context import current_tenant_id

K = TypeVar("K", bound=SigningKey)


def current(kind: type[K], *, now: datetime) -> K:
    """Return the current tenant's active key of a kind. Create the key if missing."""
    return _active(kind) or _create(kind, now)


@transaction.atomic
def replace(kind: type[K], *, now: datetime) -> K:
    """Replace the current tenant's active key of a kind. Return the new key."""
    lock_active_key(kind)
    old = current(kind, now=now)
    kind.objects.filter(pk=old.pk).update(replaced_at=now)
    return _create(kind, now)


def lock_active_key(kind: type[K]) -> None:
    """Lock the current tenant's active key. It is not replaced before the transaction ends."""
    transaction_lock(f"{kind.purpose} of {current_tenant_id()}")


def private_key(key: SigningKey) -> Ed25519PrivateKey:
    """Decrypt and return the private part of a signing key.

    Raises:
        DecryptionError: the key was encrypted with a secret that is not among the fallbacks.
    """
    return _decrypted(key.private_key, key.purpose)


def reencrypt(kind: type[K]) -> int:
    """Encrypt every tenant's keys with the current `SECRET_KEY`. Return their number.

    Raises:
        DecryptionError: a key was encrypted with a secret that is not among the fallbacks.
    """
    rows = kind.every_tenant.select_for_update()
    with transaction.atomic():
        keys = list(rows.order_by("pk"))
        for key in keys:
            secret = decrypt(key.private_key, purpose=kind.purpose)
            key.private_key = encrypt(secret, purpose=kind.purpose)
        kind.every_tenant.bulk_update(keys, ["private_key"])
    return len(keys)


def jwk(key: SigningKey) -> dict[str, str]:
    """Return the public part of a signing key as a JSON Web Key (RFC 8037 §2)."""
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": key.public_key,
        "kid": key.thumbprint,
        "alg": "EdDSA",
        "use": "sig",
    }


def _active(kind: type[K]) -> K | None:
    return kind.objects.filter(replaced_at__isnull=True).first()


@transaction.atomic
def _create(kind: type[K], now: datetime) -> K:
    lock_active_key(kind)
    if (key := _active(kind)) is not None:
        return key  # another transaction created it while this one waited
    private = Ed25519PrivateKey.generate()
    public = base64url_encode(private.public_key().public_bytes_raw())
    members = {"crv": "Ed25519", "kty": "OKP", "x": public}  # in the order of RFC 7638
    text = json.dumps(members, separators=(",", ":"))
    secret = base64url_encode(private.private_bytes_raw())
    return kind.objects.create(
        thumbprint=base64url_encode(sha256(text.encode()).digest()),
        public_key=public,
        private_key=encrypt(secret, purpose=kind.purpose),
        made_at=now,
    )


@lru_cache(maxsize=1000)
def _decrypted(encrypted: str, purpose: str) -> Ed25519PrivateKey:
    secret = base64url_decode(decrypt(encrypted, purpose=purpose))
    return Ed25519PrivateKey.from_private_bytes(secret)
