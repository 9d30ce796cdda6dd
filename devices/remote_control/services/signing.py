"""Commands as a device can believe them: signed, numbered, for it alone, for a time.

A command goes out as a JSON Web Signature in compact form (RFC 7515) by an Ed25519 key
of its tenant (RFC 8037). Who stands between, or has broken into the broker, can neither
make one nor use one again: the number rises, and the device remembers the last.

The keys come as a JSON Web Key Set (RFC 7517), and the CA vouches for it: a device that
has its certificate's chain need not believe the network for these either.
"""

from base64 import b64encode
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from django.db import transaction
from django.db.models import F, Q

from certificates.errors import AuthorityUnavailable
from certificates.models import DeviceCertificate
from certificates.pki.issuer import Issuer
from certificates.services.authorities import signing_issuer
from certificates.services.device_certificates import DeviceCertificatesService
from core import jws
from devices.registry.models import Device
from devices.remote_control import queries
from devices.remote_control.events import CommandKeyReplaced
from devices.remote_control.models import CommandHistory, CommandSigningKey
from devices.remote_control.services import signing_keys
from events.services.outbox import record
from tenants.context import current_tenant_id

PUBLISHED = timedelta(minutes=10)  # after it was replaced: what is on its way arrives
ENDORSED = timedelta(days=1)  # for so long the CA's word counts: then it is asked again
ES = {256: ("ES256", hashes.SHA256()), 384: ("ES384", hashes.SHA384())}


def signed(
    command: CommandHistory, key: CommandSigningKey, *, more: dict[str, Any]
) -> str:
    """A command as its device gets it; the claims' names are those of RFC 7519.

    `jti` is the command's id, `aud` the device's, `exp` the moment from which it may
    not be begun any more (seconds since 1970).
    """
    header = {"kid": key.thumbprint, "typ": "command+jws"}
    claims = {
        "jti": str(command.pk),
        "aud": str(command.device_id),
        "sequence": command.sequence,
        "type": command.type,
        "parameters": {**command.parameters, **more},
        "iat": int(command.issued_at.timestamp()),
        "exp": int(command.expires_at.timestamp()),
    }
    return jws.signed(header, claims, signing_keys.private_half(key))


def current_key(*, now: datetime) -> CommandSigningKey:
    """The key that signs for the current tenant; made at first use."""
    return queries.signing_key() or signing_keys.current(CommandSigningKey, now=now)


@transaction.atomic
def replace_key(*, now: datetime) -> CommandSigningKey:
    """Sign with a new key from now on; the one before is still published for a while."""
    key = signing_keys.replace(CommandSigningKey, now=now)
    record(
        [
            CommandKeyReplaced(
                tenant_id=current_tenant_id(), at=now, thumbprint=key.thumbprint
            )
        ]
    )
    return key


def reencrypt() -> dict[str, int]:
    """Encrypt every tenant's keys with the present `SECRET_KEY`; return how many.

    Raises:
        NotReadable: one was encrypted with a key that is not among the fallbacks.
    """
    return {"command_signing_keys": signing_keys.reencrypt(CommandSigningKey)}


def key_set(*, now: datetime) -> list[dict[str, str]]:
    """The current tenant's public keys (RFC 7517 §5), the one that signs first."""
    current_key(now=now)
    published = Q(replaced_at__isnull=True) | Q(replaced_at__gt=now - PUBLISHED)
    rows = CommandSigningKey.objects.filter(published).order_by(
        F("replaced_at").desc(nulls_first=True)
    )
    return [signing_keys.jwk(row) for row in rows]


def endorsed(
    key_set: list[dict[str, str]], *, device: Device, now: datetime
) -> str | None:
    """The CA's word for the keys: a JWS for this device, for a day.

    By the CA that has signed the device's certificate, whose chain the device knows;
    it comes along as `x5c`. None on a host that has no CA's key.
    """
    issuer = _issuer_for(device, now)
    if issuer is None:
        return None
    chain = [b64encode(each.public_bytes(Encoding.DER)) for each in issuer.chain]
    return _signed_by_authority(
        issuer,
        header={"typ": "command-keys+jws", "x5c": [der.decode() for der in chain]},
        claims={
            "aud": str(device.pk),
            "iat": int(now.timestamp()),
            "exp": int((now + ENDORSED).timestamp()),
            "keys": key_set,
        },
    )


def _issuer_for(device: Device, now: datetime) -> Issuer | None:
    ca = DeviceCertificatesService()
    mine = DeviceCertificate.objects.of_device(device.pk).filter(status="active")
    identifier = mine.values_list("authority_key_id", flat=True).first()
    try:
        if identifier is not None:
            return ca.issuer(identifier)
    except AuthorityUnavailable:
        pass  # it is retired, or its key is elsewhere
    try:
        return signing_issuer(ca, now=now)
    except AuthorityUnavailable:
        return None


def _signed_by_authority(
    issuer: Issuer, *, header: dict[str, Any], claims: dict[str, Any]
) -> str:
    """RFC 7518 §3.3 and §3.4: an EC signature is its two numbers side by side."""
    key = issuer.key
    if isinstance(key, rsa.RSAPrivateKey):
        signing_input = jws.signing_input({"alg": "RS256", **header}, claims)
        signature = key.sign(
            signing_input.encode(), padding.PKCS1v15(), hashes.SHA256()
        )
    else:
        algorithm, digest = ES[key.curve.key_size]
        signing_input = jws.signing_input({"alg": algorithm, **header}, claims)
        size = key.curve.key_size // 8
        pair = decode_dss_signature(key.sign(signing_input.encode(), ec.ECDSA(digest)))
        signature = b"".join(number.to_bytes(size, "big") for number in pair)
    return f"{signing_input}.{jws.encoded(signature)}"
