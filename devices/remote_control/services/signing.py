"""Sign commands, and publish the tenant's keys so that devices can verify them.

Each command is a JSON Web Signature in compact serialization (RFC 7515), signed with a key of
the tenant: Ed25519 (RFC 8037), or P-256 for devices that cannot verify Ed25519. The command contains the id of its device
and the expiry time. An attacker on the network or in the message broker cannot forge a
command. A command cannot be replayed either, because sequence numbers rise and the device
stores the last number.

The public keys are published as a JSON Web Key Set (RFC 7517) that the CA signs. A
device that has the chain of its certificate can verify keys from an untrusted network.
"""

from base64 import b64encode
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from django.db import transaction
from django.db.models import F, Q

from certificates.errors import AuthorityUnavailable
from certificates.models import DeviceCertificate
from certificates.pki.issuer import Issuer
from certificates.services.authorities import signing_issuer
from certificates.services.device_certificates import DeviceCertificatesService
from core import jws
from devices.registry import signature_algorithms
from devices.registry.models import Device
from devices.remote_control import queries
from devices.remote_control.events import CommandKeyReplaced
from devices.remote_control.models import CommandHistory, CommandSigningKey
from devices.remote_control.services import signing_keys
from events.services.outbox import record
from tenants.context import current_tenant_id

REPLACED_KEY_PUBLISHED = timedelta(minutes=10)  # commands in transit arrive by then
ENDORSEMENT_LIFETIME = timedelta(days=1)


def sign_command(command: CommandHistory, key: CommandSigningKey, *, more: dict[str, Any]) -> str:
    """Return a command as a signed JWS for its device, with claims of RFC 7519.

    `jti` is the id of the command, and `aud` is the id of the device. `iat` is the time
    when the command was issued. The device must not start the command at or after `exp`.
    Times are in seconds since 1970.

    Args:
        more: parameters that are added to those of the command.
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
    return jws.sign(header, claims, signing_keys.private_key(key))


def current_key(*, now: datetime, device: Device | None = None) -> CommandSigningKey:
    """Return the key that signs the current tenant's commands. Create the key if missing.

    Args:
        device: the device that verifies the commands. By default, one that knows Ed25519.
    """
    if (key := queries.signing_key(device.pk if device else None)) is not None:
        return key
    return signing_keys.current(CommandSigningKey, _algorithm(device), now=now)


def _algorithm(device: Device | None) -> str:
    return signature_algorithms.of_device(device) if device else signature_algorithms.EDDSA


@transaction.atomic
def replace_key(*, now: datetime) -> CommandSigningKey:
    """Replace the keys that sign the current tenant's commands. Return the new Ed25519 key.

    The old keys stay published for ten minutes, so that commands in transit can be verified.
    """
    key = signing_keys.replace(CommandSigningKey, now=now)
    record([CommandKeyReplaced(tenant_id=current_tenant_id(), at=now, thumbprint=key.thumbprint)])
    return key


def reencrypt() -> dict[str, int]:
    """Encrypt every tenant's signing keys with the current `SECRET_KEY`.

    Returns:
        The number of keys, by kind of key.

    Raises:
        DecryptionError: a key was encrypted with a secret that is not among the fallbacks.
    """
    return {"command_signing_keys": signing_keys.reencrypt(CommandSigningKey)}


def key_set(*, now: datetime, device: Device | None = None) -> list[dict[str, str]]:
    """Return the current tenant's public keys (RFC 7517 §5), the active keys first.

    Args:
        device: return only the keys with the algorithm of this device.
    """
    algorithm = _algorithm(device)
    signing_keys.current(CommandSigningKey, algorithm, now=now)
    published = Q(replaced_at__isnull=True) | Q(replaced_at__gt=now - REPLACED_KEY_PUBLISHED)
    rows = CommandSigningKey.objects.filter(published).order_by(
        F("replaced_at").desc(nulls_first=True)
    )
    return [signing_keys.jwk(row) for row in rows if not device or row.algorithm == algorithm]


def endorsement(key_set: list[dict[str, str]], *, device: Device, now: datetime) -> str | None:
    """Return the key set as a JWS that a CA has signed.

    The JWS is valid for one device and for one day.

    If possible, the CA that issued the device's certificate signs the key set, because the
    device has the chain of this CA. The chain is in the `x5c` header.

    Returns:
        None on a host without a CA key.
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
            "exp": int((now + ENDORSEMENT_LIFETIME).timestamp()),
            "keys": key_set,
        },
    )


def _issuer_for(device: Device, now: datetime) -> Issuer | None:
    ca = DeviceCertificatesService()
    certificates = DeviceCertificate.objects.of_device(device.pk).filter(status="active")
    identifier = certificates.values_list("authority_key_id", flat=True).first()
    try:
        if identifier is not None:
            return ca.issuer(identifier)
    except AuthorityUnavailable:
        pass  # this CA is retired, or its key is on another host
    try:
        return signing_issuer(ca, now=now)
    except AuthorityUnavailable:
        return None


def _signed_by_authority(issuer: Issuer, *, header: dict[str, Any], claims: dict[str, Any]) -> str:
    """Sign claims with the key of a CA. Return the signed claims as a JWS.

    RSA signatures follow RFC 7518 §3.3, ECDSA signatures §3.4.
    """
    key = issuer.key
    if not isinstance(key, rsa.RSAPrivateKey):
        return jws.sign_ecdsa(header, claims, key)
    signing_input = jws.signing_input({"alg": "RS256", **header}, claims)
    signature = key.sign(signing_input.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signing_input}.{jws.base64url_encode(signature)}"
