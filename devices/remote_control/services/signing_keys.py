"""The signing keys of a tenant. One key for each purpose and algorithm is active.

Keys are Ed25519 keys (RFC 8032), or P-256 keys for devices that cannot verify Ed25519. A key is
created when it is first needed. The private key is encrypted in the database.
"""

import json
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import transaction

from core.encryption import decrypt, encrypt
from core.jws import PrivateKey, base64url_decode, base64url_encode
from core.locks import transaction_lock
from devices.registry.signature_algorithms import EDDSA
from devices.remote_control.models import SigningKey
from tenants.context import current_tenant_id

K = TypeVar("K", bound=SigningKey)


def current(kind: type[K], algorithm: str = EDDSA, *, now: datetime) -> K:
    """Return the current tenant's active key of a kind. Create the key if missing."""
    return active(kind, algorithm) or _create(kind, algorithm, now)


def active(kind: type[K], algorithm: str) -> K | None:
    """Return the current tenant's active key of a kind, if there is one."""
    return kind.objects.filter(replaced_at__isnull=True, algorithm=algorithm).first()


@transaction.atomic
def replace(kind: type[K], *, now: datetime) -> K:
    """Replace the current tenant's active keys of a kind. Return the new Ed25519 key."""
    lock_active_key(kind)
    replaced = kind.objects.filter(replaced_at__isnull=True)
    algorithms = {EDDSA, *replaced.values_list("algorithm", flat=True)}
    replaced.update(replaced_at=now)
    return {name: _create(kind, name, now) for name in algorithms}[EDDSA]


def lock_active_key(kind: type[K]) -> None:
    """Lock the current tenant's active key. It is not replaced before the transaction ends."""
    transaction_lock(f"{kind.purpose} of {current_tenant_id()}")


def private_key(key: SigningKey) -> PrivateKey:
    """Decrypt and return the private part of a signing key.

    Raises:
        DecryptionError: the key was encrypted with a secret that is not among the fallbacks.
    """
    return _decrypted(key.private_key, key.purpose, key.algorithm)


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
    """Return the public part of a signing key as a JSON Web Key (RFC 8037 §2, RFC 7518 §6.2)."""
    members = _members(key.algorithm, base64url_decode(key.public_key))
    return {**members, "kid": key.thumbprint, "alg": key.algorithm, "use": "sig"}


def _members(algorithm: str, public: bytes) -> dict[str, str]:
    """Return the members of a key that RFC 7638 §3.2 requires, in its order.

    Args:
        public: the 32 bytes of an Ed25519 key, or x and y of a P-256 key concatenated.
    """
    if algorithm == EDDSA:
        return {"crv": "Ed25519", "kty": "OKP", "x": base64url_encode(public)}
    x, y = base64url_encode(public[:32]), base64url_encode(public[32:])
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}


@transaction.atomic
def _create(kind: type[K], algorithm: str, now: datetime) -> K:
    lock_active_key(kind)
    if (key := active(kind, algorithm)) is not None:
        return key  # another transaction created it while this one waited
    secret, public = _new_ed25519_key() if algorithm == EDDSA else _new_p256_key()
    text = json.dumps(_members(algorithm, public), separators=(",", ":"))
    return kind.objects.create(
        algorithm=algorithm,
        thumbprint=base64url_encode(sha256(text.encode()).digest()),
        public_key=base64url_encode(public),
        private_key=encrypt(base64url_encode(secret), purpose=kind.purpose),
        made_at=now,
    )


def _new_ed25519_key() -> tuple[bytes, bytes]:
    """Return the 32 bytes of a private key, and those of its public key."""
    private = Ed25519PrivateKey.generate()
    return private.private_bytes_raw(), private.public_key().public_bytes_raw()


def _new_p256_key() -> tuple[bytes, bytes]:
    """Return the 32 bytes of a private key, and x and y of its public key."""
    numbers = ec.generate_private_key(ec.SECP256R1()).private_numbers()
    public = numbers.public_numbers
    x, y = (number.to_bytes(32, "big") for number in (public.x, public.y))
    return numbers.private_value.to_bytes(32, "big"), x + y


@lru_cache(maxsize=1000)
def _decrypted(encrypted: str, purpose: str, algorithm: str) -> PrivateKey:
    secret = base64url_decode(decrypt(encrypted, purpose=purpose))
    if algorithm == EDDSA:
        return Ed25519PrivateKey.from_private_bytes(secret)
    return ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())
