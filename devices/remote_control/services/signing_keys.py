"""The keys of a tenant that sign what its devices believe: one at a time for a purpose.

Each is an Ed25519 key (RFC 8032), made when it is first needed. Its private half is
encrypted at rest.
"""

import json
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import transaction

from core.encryption import decrypt, encrypt
from core.jws import decoded, encoded
from core.locks import in_turn
from devices.remote_control.models import SigningKey
from tenants.context import current_tenant_id

K = TypeVar("K", bound=SigningKey)


def current(kind: type[K], *, now: datetime) -> K:
    """The key that signs for the current tenant; made at first use."""
    return _found(kind) or _made(kind, now)


@transaction.atomic
def replace(kind: type[K], *, now: datetime) -> K:
    """Sign with a new key from now on."""
    take_turn(kind)
    before = current(kind, now=now)
    kind.objects.filter(pk=before.pk).update(replaced_at=now)
    return _made(kind, now)


def take_turn(kind: type[K]) -> None:
    """Keep the current tenant's key from being replaced until we have committed."""
    in_turn(f"{kind.purpose} of {current_tenant_id()}")


def private_half(key: SigningKey) -> Ed25519PrivateKey:
    """
    Raises:
        NotReadable: it was encrypted with a key that is not among the fallbacks.
    """
    return _opened(key.private_key, key.purpose)


def reencrypt(kind: type[K]) -> int:
    """Encrypt every tenant's keys with the present `SECRET_KEY`; return how many.

    Raises:
        NotReadable: one was encrypted with a key that is not among the fallbacks.
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
    """The public half (RFC 8037 §2)."""
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": key.public_key,
        "kid": key.thumbprint,
        "alg": "EdDSA",
        "use": "sig",
    }


def _found(kind: type[K]) -> K | None:
    found: K | None = kind.objects.filter(replaced_at__isnull=True).first()
    return found


@transaction.atomic
def _made(kind: type[K], now: datetime) -> K:
    take_turn(kind)
    if (found := _found(kind)) is not None:
        return found  # somebody else has made it while we waited
    private = Ed25519PrivateKey.generate()
    public = encoded(private.public_key().public_bytes_raw())
    members = {"crv": "Ed25519", "kty": "OKP", "x": public}  # in this order: RFC 7638
    text = json.dumps(members, separators=(",", ":"))
    secret = encoded(private.private_bytes_raw())
    made: K = kind.objects.create(
        thumbprint=encoded(sha256(text.encode()).digest()),
        public_key=public,
        private_key=encrypt(secret, purpose=kind.purpose),
        made_at=now,
    )
    return made


@lru_cache(maxsize=1000)
def _opened(encrypted: str, purpose: str) -> Ed25519PrivateKey:
    secret = decoded(decrypt(encrypted, purpose=purpose))
    return Ed25519PrivateKey.from_private_bytes(secret)
