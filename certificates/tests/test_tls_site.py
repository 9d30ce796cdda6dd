"""The whole way: a device with its key, nginx with our CA and list, the application."""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certificates.models import DeviceCertificate
from certificates.pki import keys
from certificates.services import revocation_lists
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.tests.issued import issue_certificate, revoke_certificate
from certificates.tests.keys import ec_key, request_for
from certificates.tests.peers import needs, run_tool, tool_marks
from certificates.tests.tls_site import Site, running_site
from devices.registry.models import Device
from devices.registry.services.credentials import renew_device_token
from devices.remote_control.services.connect_response import PATH
from devices.remote_control.tests.remote_control import person, told
from tenants.context import tenant_scope

pytestmark = [
    pytest.mark.django_db(transaction=True),
    *tool_marks("nginx", "curl", "openssl"),
]


@pytest.fixture
def site(transactional_db: None, device: Device) -> Iterator[Site]:
    with running_site() as running:
        yield running


def rebuilt() -> None:
    ca = DeviceCertificatesService()
    revocation_lists.rebuild_due(ca, now=datetime.now(UTC))


@pytest.fixture
def identity(site: Site, device: Device) -> tuple[DeviceCertificate, list[str]]:
    """A device's certificate, and how curl shows it."""
    key = ec_key()
    row = issue_certificate(device, datetime.now(UTC), key)
    certificate, private = site.folder / "device.pem", site.folder / "device-key.pem"
    certificate.write_text(row.pem)
    private.write_bytes(keys.to_pem(key))
    return row, ["--cert", str(certificate), "--key", str(private)]


def test_a_device_connects_with_its_certificate_is_revoked_and_is_refused(
    site: Site, device: Device, identity: tuple[DeviceCertificate, list[str]]
) -> None:
    row, shown = identity
    connect = ["--json", "{}"]

    status, body = site.curl("/devices/connect", *connect, *shown)
    assert (status, str(device.pk) in body) == (200, True), body
    assert site.curl("/devices/connect", *connect)[0] == 401, "without a certificate"

    # Revoked: the application refuses at once, and nginx with its next list.
    revoke_certificate(row, datetime.now(UTC))
    status, body = site.curl("/devices/connect", *connect, *shown)
    assert (status, "revoked" in body) == (401, True), body
    rebuilt()
    site.refresh_trust()
    site.reload()
    status, body = site.curl("/devices/connect", *connect, *shown)
    assert (status, "invalid_client_certificate" in body) == (401, True), body

    # A forged header is nobody's word: through the proxy, and past it.
    forged = ["--header", f"X-SSL-Client-Cert: {quote(row.pem)}"]
    other = ["--header", f"X_SSL_Client_Cert: {quote(row.pem)}"]
    past = f"http://localhost:{site.application}"
    tls = ["--header", "X-Forwarded-Proto: https"]
    for words in (forged, other):
        assert site.curl("/devices/me", *words)[0] == 401
        status, _ = site.curl("/devices/me", *words, *tls, url=past)
        assert status in (301, 401)


def test_a_certificate_of_another_authority_does_not_get_past_the_proxy(
    site: Site,
) -> None:
    key, certificate = site.folder / "x-key.pem", site.folder / "x.pem"
    run_tool(
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=x",
        "-days",
        "1",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    )

    status, body = site.curl(
        "/devices/me", "--cert", str(certificate), "--key", str(key)
    )

    assert (status, "invalid_client_certificate" in body) == (401, True), body


def test_what_certificates_name_is_served_by_plain_http(
    site: Site, identity: tuple[DeviceCertificate, list[str]]
) -> None:
    row, _ = identity
    plain = f"http://localhost:{site.http}"

    for path in (
        "/certificates/ca.crl",
        f"/certificates/crl/{row.distribution_point_id}.crl",
        f"/certificates/authorities/{row.authority_key_id}.cer",
    ):
        assert site.curl(path, "--output", "/dev/null", url=plain)[0] == 200, path
    assert site.curl("/devices/me", url=plain)[0] == 308
    ca = site.folder / "ca.pem"
    ca.write_text(DeviceCertificatesService().store.ca_certificate.read_text())
    device = site.folder / "device.pem"
    output = run_tool(
        "openssl",
        "ocsp",
        "-issuer",
        str(ca),
        "-cert",
        str(device),
        "-CAfile",
        str(ca),
        "-url",
        f"{plain}/certificates/ocsp",
    )
    assert "Response verify OK" in output
    assert f"{device}: good" in output


@needs("pki")
def test_strongswan_enrolls_and_re_enrolls_by_est(site: Site, device: Device) -> None:
    folder = site.folder
    with tenant_scope(device.tenant_id):
        token = renew_device_token(device, now=datetime.now(UTC))
    server = ("--url", site.url, "--cacert", str(folder / "server.pem"))

    run_tool(
        "pki", "--estca", *server[:2], "--cacert", server[3], "--caout", f"{folder}/ca"
    )
    assert list(folder.glob("ca*")) != []

    key = ec_key()
    first = _enrolled(
        folder / "first",
        request_for(key, common_name=f"Device-{device.pk}"),
        *server,
        "--userpass",
        f"{device.pk}:{token}",
    )
    assert first.public_key() == key.public_key()

    # The old certificate is enough for the next one.
    (folder / "old.key").write_bytes(keys.to_pem(key))
    (folder / "old.pem").write_text(DeviceCertificate.objects.get().pem)
    subject = first.subject
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    again = builder.sign(ec_key(), hashes.SHA256()).public_bytes(Encoding.PEM).decode()
    second = _enrolled(
        folder / "second",
        again,
        *server,
        "--cert",
        str(folder / "old.pem"),
        "--key",
        str(folder / "old.key"),
    )
    assert second.subject == subject
    assert second.serial_number != first.serial_number
    newest = DeviceCertificate.objects.active().get()
    assert newest.serial_number == f"{second.serial_number:x}"


def _enrolled(path: Path, csr: str, *words: str) -> x509.Certificate:
    request, made = path.with_suffix(".csr"), path.with_suffix(".out")
    request.write_text(csr)
    with made.open("wb") as stream:
        done = subprocess.run(
            ["pki", "--est", "--in", str(request), *words, "--outform", "pem"],
            stdout=stream,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr.decode()
    return x509.load_pem_x509_certificate(made.read_bytes())


def test_the_push_channel_goes_through_the_proxy_at_once(
    site: Site, device: Device, identity: tuple[DeviceCertificate, list[str]]
) -> None:
    _, shown = identity
    Device.every_tenant.filter(pk=device.pk).update(status="online")
    trusted = ["--cacert", str(site.folder / "server.pem"), "--max-time", "20"]
    accept = ["--header", "Accept: text/event-stream"]
    listening = subprocess.Popen(
        [
            "curl",
            "--silent",
            "--no-buffer",
            *trusted,
            *accept,
            *shown,
            f"{site.url}{PATH}",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    with listening:
        assert listening.stdout is not None
        assert listening.stdout.readline().startswith("retry: ")
        told(device, "reload", by=person(device.tenant), now=datetime.now(UTC))
        lines = [listening.stdout.readline().strip() for _ in range(3)]
        listening.terminate()
    assert lines == ["", "id: 1", 'data: {"sequence": 1}']
