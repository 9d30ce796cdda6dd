"""Signed commands and key sets. The tests verify signatures as a device does."""

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
from provisioning_agent.signatures import verified_claims
from rest_framework.test import APIClient

from certificates.services import rotation
from certificates.services.certificate_management import CertificateManagementService
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device, DeviceHardware
from devices.remote_control.models import CommandHistory, CommandSigningKey
from devices.remote_control.services import signing
from devices.remote_control.tests.remote_control import (
    claims,
    create_member,
    decoded,
    issue_command,
    online_device,
)
from events.models import Event
from tenants.context import every_tenant_scope, tenant_scope
from tenants.models import Role, Tenant
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def device(acting: Tenant) -> Device:
    return online_device(acting)


@pytest.fixture
def command(device: Device) -> CommandHistory:
    return issue_command(
        device,
        "set_volume",
        parameters={"volume": 7},
        by=create_member(device.tenant),
        now=datetime.now().astimezone(),
    )


def verified(signed: str, keys: list[dict[str, str]]) -> dict[str, Any]:
    """Verify a JWS with one of the keys. Return the claims of the JWS.

    Raises:
        InvalidSignature: the signature is wrong.
    """
    header, payload, signature = signed.split(".")
    fields = json.loads(decoded(header))
    assert fields["alg"] == "EdDSA"
    (key,) = [key for key in keys if key["kid"] == fields["kid"]]
    public = Ed25519PublicKey.from_public_bytes(decoded(key["x"]))
    public.verify(decoded(signature), f"{header}.{payload}".encode())
    return claims(signed)


def test_a_command_is_signed_with_a_key_of_its_tenant(
    device: Device, command: CommandHistory, as_device: Callable[..., APIClient]
) -> None:
    client = as_device(device)

    (fetched,) = client.get("/devices/me/commands").json()["results"]
    keys = client.get("/devices/me/command-keys").json()["keys"]

    assert verified(fetched["signed"], keys) == {
        "jti": str(command.pk),
        "aud": str(device.pk),
        "sequence": 1,
        "type": "set_volume",
        "parameters": {"volume": 7},
        "iat": int(command.issued_at.timestamp()),
        "exp": int(command.expires_at.timestamp()),
    }


def test_a_modified_command_does_not_verify(
    device: Device, command: CommandHistory, now: datetime
) -> None:
    key = signing.current_key(now=now)
    header, payload, signature = signing.sign_command(command, key, more={}).split(".")
    modified = payload[:-4] + ("AAAA" if payload[-4:] != "AAAA" else "BBBB")

    with pytest.raises(InvalidSignature):
        public = Ed25519PublicKey.from_public_bytes(decoded(key.public_key))
        public.verify(decoded(signature), f"{header}.{modified}".encode())


def test_the_ca_signs_the_keys(
    device: Device, as_device: Callable[..., APIClient], now: datetime
) -> None:
    response = as_device(device).get("/devices/me/command-keys").json()

    header, payload, signature = response["endorsement"].split(".")
    fields = json.loads(decoded(header))
    certificate = x509.load_der_x509_certificate(_standard(fields["x5c"][0]))
    issuer = DeviceCertificatesService().initialize_ca(now=now)
    assert certificate == issuer.certificate
    signed = f"{header}.{payload}".encode()
    _verify(certificate, fields["alg"], signed, decoded(signature))
    assert claims(response["endorsement"])["keys"] == response["keys"]
    assert claims(response["endorsement"])["aud"] == str(device.pk)


def test_a_replaced_key_stays_published_for_ten_minutes_and_signs_nothing(
    acting: Tenant, now: datetime
) -> None:
    old = signing.current_key(now=now)

    new = signing.replace_key(now=now)

    published = [key["kid"] for key in signing.key_set(now=now)]
    assert published == [new.thumbprint, old.thumbprint]
    assert signing.current_key(now=now) == new
    later = signing.key_set(now=now + timedelta(minutes=10))
    assert [key["kid"] for key in later] == [new.thumbprint]
    assert Event.objects.filter(name="remote_control.key_replaced").count() == 1


def test_a_device_that_knows_only_es256_gets_commands_and_keys_of_this_algorithm(
    device: Device, command: CommandHistory, as_device: Callable[..., APIClient], now: datetime
) -> None:
    DeviceHardware.objects.update_or_create(
        device=device, defaults={"signature_algorithm": "ES256"}
    )

    (signed,) = as_device(device).get("/devices/me/commands").json()["results"]
    keys = as_device(device).get("/devices/me/command-keys").json()["keys"]

    assert [(key["alg"], key["kty"], key["crv"]) for key in keys] == [("ES256", "EC", "P-256")]
    assert verified_claims(signed["signed"], keys)["jti"] == str(command.pk)
    assert signing.current_key(now=now).algorithm == "EdDSA"  # for the other devices


def test_a_fetch_can_contain_the_endorsed_keys(
    device: Device, command: CommandHistory, as_device: Callable[..., APIClient]
) -> None:
    client = as_device(device)

    inline = client.get("/devices/me/commands?keys=true").json()

    separate = client.get("/devices/me/command-keys").json()
    assert inline["keys"] == separate["keys"]
    assert claims(inline["endorsement"])["aud"] == str(device.pk)
    assert "keys" not in client.get("/devices/me/commands").json()
    assert client.get("/devices/me/commands?keys=maybe").status_code == 400


def test_replacing_the_keys_replaces_those_of_both_algorithms(
    device: Device, now: datetime
) -> None:
    DeviceHardware.objects.update_or_create(
        device=device, defaults={"signature_algorithm": "ES256"}
    )
    old = {signing.current_key(now=now, device=each).pk for each in (None, device)}

    signing.replace_key(now=now)

    new = {signing.current_key(now=now, device=each) for each in (None, device)}
    assert {key.algorithm for key in new} == {"EdDSA", "ES256"}
    assert not old & {key.pk for key in new}


def test_each_tenant_has_its_own_key(acting: Tenant, now: datetime) -> None:
    key = signing.current_key(now=now)

    with tenant_scope(TenantFactory.create().pk):
        other_key = signing.current_key(now=now)

    assert key.thumbprint != other_key.thumbprint


def test_the_private_key_is_encrypted_in_the_database(acting: Tenant, now: datetime) -> None:
    key = signing.current_key(now=now)

    stored = CommandSigningKey.objects.get(pk=key.pk).private_key
    assert len(stored) > 100
    assert not stored.startswith(key.public_key[:8])


def test_the_key_stays_readable_after_the_secret_key_changes(
    device: Device, command: CommandHistory, now: datetime, settings: Any
) -> None:
    before = signing.sign_command(command, signing.current_key(now=now), more={})
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another key that is as long as it has to be, and longer"

    call_command("reencrypt_secrets")

    settings.SECRET_KEY_FALLBACKS = []
    assert signing.sign_command(command, signing.current_key(now=now), more={}) == before


def test_only_an_admin_replaces_the_key(acting: Tenant, member: Callable[..., APIClient]) -> None:
    path = "/remote-control/signing-keys"

    refused = member(Role.OPERATOR).post(path)
    before = member(Role.ADMIN).get(path).json()["keys"]
    after = member(Role.ADMIN).post(path)

    assert refused.status_code == 403
    assert after.status_code == 201
    assert [key["kid"] for key in after.json()["keys"]][1:] == [before[0]["kid"]]


def test_the_ca_of_the_devices_certificate_signs_the_keys(device: Device, now: datetime) -> None:
    """During a CA rotation, most devices trust only the old CA, so the old CA signs their keys."""
    ca = DeviceCertificatesService()
    CertificateManagementService().issue_certificate(
        device=device, csr_pem=request_for(ec_key()), now=now
    )
    old_issuer = ca.initialize_ca(now=now)
    with every_tenant_scope():
        rotation.prepare(ca, key_type="ec", now=now)
        rotation.switch(ca, now=now)

    endorsement = signing.endorsement(signing.key_set(now=now), device=device, now=now)

    assert endorsement is not None
    der = json.loads(decoded(endorsement.split(".")[0]))["x5c"][0]
    assert x509.load_der_x509_certificate(_standard(der)) == old_issuer.certificate


@pytest.mark.parametrize("key_type", ["rsa", "ec"])
def test_a_ca_with_any_key_type_signs_the_keys(
    device: Device, now: datetime, key_type: Any, tmp_path: Any, settings: Any
) -> None:
    settings.CERTIFICATES_ROOT = str(tmp_path / key_type)
    issuer = DeviceCertificatesService().initialize_ca(now=now, key_type=key_type)

    keys = signing.key_set(now=now)
    endorsement = signing.endorsement(keys, device=device, now=now)

    assert endorsement is not None
    header, payload, signature = endorsement.split(".")
    algorithm = json.loads(decoded(header))["alg"]
    assert algorithm == {"rsa": "RS256", "ec": "ES384"}[key_type]
    _verify(issuer.certificate, algorithm, f"{header}.{payload}".encode(), decoded(signature))


def _verify(certificate: x509.Certificate, algorithm: str, data: bytes, signature: bytes) -> None:
    key = certificate.public_key()
    if algorithm == "RS256":
        assert isinstance(key, rsa.RSAPublicKey)
        key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
        return
    assert isinstance(key, ec.EllipticCurvePublicKey)
    half = len(signature) // 2
    pair = (int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
    digest = {"ES256": hashes.SHA256(), "ES384": hashes.SHA384()}[algorithm]
    key.verify(encode_dss_signature(*pair), data, ec.ECDSA(digest))


def _standard(text: str) -> bytes:
    """Decode base64 text in the standard alphabet."""
    return decoded(text.replace("+", "-").replace("/", "_").rstrip("="))
