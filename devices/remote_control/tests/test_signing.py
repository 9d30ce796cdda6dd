"""Commands that a device can believe: each signature is checked as a device would."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from django.core.management import call_command
from rest_framework.test import APIClient

from certificates.services import rotation
from certificates.services.certificate_management import CertificateManagementService
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device
from devices.remote_control.models import CommandHistory, CommandSigningKey
from devices.remote_control.services import signing
from devices.remote_control.tests.remote_control import (
    claims,
    decoded,
    online,
    person,
    told,
)
from events.models import Event
from tenants.context import every_tenant_scope, tenant_scope
from tenants.models import Role, Tenant
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def device(acting: Tenant) -> Device:
    return online(acting)


@pytest.fixture
def command(device: Device) -> CommandHistory:
    return told(
        device,
        "set_volume",
        parameters={"volume": 7},
        by=person(device.tenant),
        now=datetime.now().astimezone(),
    )


def verified(signed: str, keys: list[dict[str, str]]) -> dict[str, Any]:
    """What a JWS by one of the keys says.

    Raises:
        InvalidSignature: it is by none of them.
    """
    header, payload, signature = signed.split(".")
    said = json.loads(decoded(header))
    assert said["alg"] == "EdDSA"
    (key,) = [key for key in keys if key["kid"] == said["kid"]]
    public = Ed25519PublicKey.from_public_bytes(decoded(key["x"]))
    public.verify(decoded(signature), f"{header}.{payload}".encode())
    return claims(signed)


def test_a_device_gets_its_command_signed_by_a_key_of_its_tenant(
    device: Device, command: CommandHistory, as_device: Callable[..., APIClient]
) -> None:
    client = as_device(device)

    (fetched,) = client.get("/devices/me/commands").json()["results"]
    keys = client.get("/devices/me/command-keys").json()["keys"]

    said = verified(fetched["signed"], keys)
    assert said == {
        "jti": str(command.pk),
        "aud": str(device.pk),
        "sequence": 1,
        "type": "set_volume",
        "parameters": {"volume": 7},
        "iat": int(command.issued_at.timestamp()),
        "exp": int(command.expires_at.timestamp()),
    }


def test_what_somebody_has_changed_on_the_way_does_not_verify(
    device: Device, command: CommandHistory, now: datetime
) -> None:
    key = signing.current_key(now=now)
    header, payload, signature = signing.signed(command, key, more={}).split(".")
    louder = payload[:-4] + ("AAAA" if payload[-4:] != "AAAA" else "BBBB")

    with pytest.raises(InvalidSignature):
        public = Ed25519PublicKey.from_public_bytes(decoded(key.public_key))
        public.verify(decoded(signature), f"{header}.{louder}".encode())


def test_the_ca_vouches_for_the_keys(
    device: Device, as_device: Callable[..., APIClient], now: datetime
) -> None:
    told = as_device(device).get("/devices/me/command-keys").json()

    header, payload, signature = told["endorsement"].split(".")
    said = json.loads(decoded(header))
    der = x509.load_der_x509_certificate(_standard(said["x5c"][0]))
    ours = DeviceCertificatesService().initialize_ca(now=now)
    assert der == ours.certificate
    _verify(der, said["alg"], f"{header}.{payload}".encode(), decoded(signature))
    assert claims(told["endorsement"])["keys"] == told["keys"]
    assert claims(told["endorsement"])["aud"] == str(device.pk)


def test_a_replaced_key_is_published_for_a_while_and_signs_nothing(
    acting: Tenant, now: datetime
) -> None:
    before = signing.current_key(now=now)

    after = signing.replace_key(now=now)

    known = [key["kid"] for key in signing.key_set(now=now)]
    assert known == [after.thumbprint, before.thumbprint]
    assert signing.current_key(now=now) == after
    later = signing.key_set(now=now + timedelta(minutes=10))
    assert [key["kid"] for key in later] == [after.thumbprint]
    assert Event.objects.filter(name="remote_control.key_replaced").count() == 1


def test_each_tenant_has_a_key_of_its_own(acting: Tenant, now: datetime) -> None:
    mine = signing.current_key(now=now)

    with tenant_scope(TenantFactory.create().pk):
        theirs = signing.current_key(now=now)

    assert mine.thumbprint != theirs.thumbprint


def test_the_private_half_is_encrypted_where_it_lies(
    acting: Tenant, now: datetime
) -> None:
    key = signing.current_key(now=now)

    kept = CommandSigningKey.objects.get(pk=key.pk).private_key
    assert len(kept) > 100
    assert not kept.startswith(key.public_key[:8])


def test_it_outlives_a_change_of_the_installations_key(
    device: Device, command: CommandHistory, now: datetime, settings: Any
) -> None:
    before = signing.signed(command, signing.current_key(now=now), more={})
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another key that is as long as it has to be, and longer"

    call_command("reencrypt_secrets")

    settings.SECRET_KEY_FALLBACKS = []
    assert signing.signed(command, signing.current_key(now=now), more={}) == before


def test_an_admin_replaces_the_key_and_nobody_else(
    acting: Tenant, member: Callable[..., APIClient]
) -> None:
    at = "/remote-control/signing-keys"

    refused = member(Role.OPERATOR).post(at)
    before = member(Role.ADMIN).get(at).json()["keys"]
    after = member(Role.ADMIN).post(at)

    assert refused.status_code == 403
    assert after.status_code == 201
    assert [key["kid"] for key in after.json()["keys"]][1:] == [before[0]["kid"]]


def test_the_ca_that_vouches_is_the_one_that_the_device_knows(
    device: Device, now: datetime
) -> None:
    """While a fleet moves from one CA to the next, most of it knows the old one only."""
    ca = DeviceCertificatesService()
    CertificateManagementService().issue_certificate(
        device=device, csr_pem=request_for(ec_key()), now=now
    )
    before = ca.initialize_ca(now=now)
    with every_tenant_scope():
        rotation.prepare(ca, key_type="ec", now=now)
        rotation.switch(ca, now=now)

    told = signing.endorsed(signing.key_set(now=now), device=device, now=now)

    assert told is not None
    der = json.loads(decoded(told.split(".")[0]))["x5c"][0]
    assert x509.load_der_x509_certificate(_standard(der)) == before.certificate


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_whatever_key_the_ca_has_it_can_vouch(
    device: Device, now: datetime, kind: Any, tmp_path: Any, settings: Any
) -> None:
    settings.CERTIFICATES_ROOT = str(tmp_path / kind)
    issuer = DeviceCertificatesService().initialize_ca(now=now, key_type=kind)

    keys = signing.key_set(now=now)
    told = signing.endorsed(keys, device=device, now=now)

    assert told is not None
    header, payload, signature = told.split(".")
    algorithm = json.loads(decoded(header))["alg"]
    assert algorithm == {"rsa": "RS256", "ec": "ES384"}[kind]
    _verify(
        issuer.certificate,
        algorithm,
        f"{header}.{payload}".encode(),
        decoded(signature),
    )


def _verify(
    certificate: x509.Certificate, algorithm: str, text: bytes, signature: bytes
) -> None:
    key = certificate.public_key()
    if algorithm == "RS256":
        assert isinstance(key, rsa.RSAPublicKey)
        key.verify(signature, text, padding.PKCS1v15(), hashes.SHA256())
        return
    assert isinstance(key, ec.EllipticCurvePublicKey)
    half = len(signature) // 2
    pair = (int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
    digest = {"ES256": hashes.SHA256(), "ES384": hashes.SHA384()}[algorithm]
    key.verify(encode_dss_signature(*pair), text, ec.ECDSA(digest))


def _standard(text: str) -> bytes:
    return decoded(text.replace("+", "-").replace("/", "_").rstrip("="))
