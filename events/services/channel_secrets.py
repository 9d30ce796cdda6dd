"""Secrets that sign webhook requests. After a rotation, two secrets are valid for a day."""

import secrets
from base64 import b64encode
from datetime import datetime, timedelta

from django.db import transaction

from core.encryption import decrypt, encrypt
from events.models import Channel
from events.services.webhooks import SECRET_PREFIX

PURPOSE = "webhook secrets"
KEY_SIZE = 32  # bytes; Standard Webhooks allows 24 to 64
FORMER_SECRET_LIFETIME = timedelta(days=1)


def generate(channel: Channel) -> str:
    """Generate a secret. Set the encrypted secret on the channel without saving the channel."""
    secret = SECRET_PREFIX + b64encode(secrets.token_bytes(KEY_SIZE)).decode()
    channel.secret = encrypt(secret, purpose=PURPOSE)
    return secret


def rotate(channel: Channel, *, now: datetime) -> str:
    """Set a new secret without saving the channel. The former secret stays valid for a day."""
    channel.former_secret = channel.secret
    channel.former_secret_until = now + FORMER_SECRET_LIFETIME
    return generate(channel)


def reencrypt() -> dict[str, int]:
    """Re-encrypt the secrets of all tenants with the current key.

    Returns:
        The number of channels, as `{"webhooks": count}`.

    Raises:
        DecryptionError: a secret was encrypted with neither the current nor a fallback key.
    """
    count = 0
    with_secret = Channel.every_tenant.exclude(secret="")
    for pk in list(with_secret.values_list("pk", flat=True)):
        with transaction.atomic():
            locked = Channel.every_tenant.select_for_update().filter(pk=pk).first()
            if locked is not None:
                locked.secret = _reencrypted(locked.secret)
                locked.former_secret = _reencrypted(locked.former_secret)
                locked.save(update_fields=["secret", "former_secret"])
                count += 1
    return {"webhooks": count}


def _reencrypted(encrypted: str) -> str:
    if not encrypted:
        return ""
    return encrypt(decrypt(encrypted, purpose=PURPOSE), purpose=PURPOSE)


def valid_secrets(channel: Channel, *, now: datetime) -> list[str]:
    """Return the decrypted secrets with which a request is signed now, the newest first.

    Raises:
        DecryptionError: a secret was encrypted with neither the current nor a fallback key.
    """
    encrypted = [channel.secret]
    until = channel.former_secret_until
    if channel.former_secret and until is not None and until > now:
        encrypted.append(channel.former_secret)
    return [decrypt(item, purpose=PURPOSE) for item in encrypted if item]
