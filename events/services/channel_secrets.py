"""The secrets of webhooks: encrypted at rest, two of them good while one is replaced."""

import secrets
from datetime import datetime, timedelta

from django.db import transaction

from core.encryption import decrypt, encrypt
from events.models import Channel

PURPOSE = "webhook secrets"
PREFIX = "whs_"
FORMER_GOOD_FOR = timedelta(days=1)


def make(channel: Channel) -> str:
    """A new secret for the channel, to be saved; it is shown this once."""
    secret = PREFIX + secrets.token_urlsafe(32)
    channel.secret = encrypt(secret, purpose=PURPOSE)
    return secret


def replace(channel: Channel, *, now: datetime) -> str:
    """A new one, and the present one for a day beside it."""
    channel.former_secret = channel.secret
    channel.former_secret_until = now + FORMER_GOOD_FOR
    return make(channel)


def reencrypt() -> dict[str, int]:
    """Encrypt every tenant's secrets with the present key; return of how many channels.

    Raises:
        NotReadable: one was encrypted with a key that is not among the fallbacks.
    """
    count = 0
    with_secret = Channel.every_tenant.exclude(secret="")
    for pk in list(with_secret.values_list("pk", flat=True)):
        with transaction.atomic():
            held = Channel.every_tenant.select_for_update().filter(pk=pk).first()
            if held is not None:
                held.secret = _anew(held.secret)
                held.former_secret = _anew(held.former_secret)
                held.save(update_fields=["secret", "former_secret"])
                count += 1
    return {"webhooks": count}


def _anew(encrypted: str) -> str:
    if not encrypted:
        return ""
    return encrypt(decrypt(encrypted, purpose=PURPOSE), purpose=PURPOSE)


def live_secrets(channel: Channel, *, now: datetime) -> list[str]:
    """Those with which a request is signed, the newest first.

    Raises:
        NotReadable: `SECRET_KEY` is another one, and the one before is not known.
    """
    encrypted = [channel.secret]
    until = channel.former_secret_until
    if channel.former_secret and until is not None and until > now:
        encrypted.append(channel.former_secret)
    return [decrypt(item, purpose=PURPOSE) for item in encrypted if item]
