"""Strangers' verifiers and linters over everything that is issued, of each kind of CA."""

import os
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certificates.models import CertificateAuthority, DeviceCertificate, RevocationList
from certificates.services import authorities, ocsp_responses, revocation_lists
from certificates.services.certificate_management import CertificateManagementService
from certificates.tests.issued import issue_certificate, revoke_certificate
from certificates.tests.peers import (
    found,
    needs,
    run_failing_tool,
    run_tool,
    tool_marks,
)
from devices.registry.tests.factories import DeviceFactory

pytestmark = pytest.mark.django_db
KINDS = ("rsa", "ec", "rsa below a root", "ec below a root")


@dataclass(frozen=True)
class Everything:
    """What one kind of CA issued, as files."""

    folder: Path
    good: DeviceCertificate
    bad: DeviceCertificate  # revoked

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def now(self) -> list[str]:
        return ["-attime", str(int(datetime.now(UTC).timestamp()) + 5)]


@pytest.fixture(params=KINDS)
def everything(
    request: pytest.FixtureRequest, tmp_path: Path, settings: Any
) -> Everything:
    kind = request.param
    settings.CERTIFICATES_ROOT = str(tmp_path / "authority")
    settings.CRL_SHARDS = 1
    settings.PKI_URL = "http://pki.example.com"
    now = datetime.now(UTC)
    service = CertificateManagementService()
    service.ca.initialize_ca(
        now=now, key_type=kind.split()[0], with_root="root" in kind
    )
    good, bad = (issue_certificate(DeviceFactory.create(), now) for _ in range(2))
    revoke_certificate(bad, now, reason="keyCompromise")
    revoke_certificate(
        issue_certificate(DeviceFactory.create(), now), now, reason="unspecified"
    )
    revocation_lists.rebuild_due(service.ca, now=now)
    ocsp_responses.renew_responders(service.ca, now=now)
    folder = tmp_path / "files"
    folder.mkdir()
    write(folder, good, bad)
    return Everything(folder, good, bad)


def write(folder: Path, good: DeviceCertificate, bad: DeviceCertificate) -> None:
    authority = CertificateAuthority.objects.signing().get()
    chain = authority.certificates()
    parts: dict[str, bytes] = {
        "good.pem": good.pem.encode(),
        "bad.pem": bad.pem.encode(),
        "ca.pem": chain[0].public_bytes(Encoding.PEM),
        "chain.pem": authority.chain.encode(),
        "root.pem": chain[-1].public_bytes(Encoding.PEM),
        "responder.pem": authority.responders.get().pem.encode(),
    }
    lists = []
    for row in RevocationList.objects.select_related("authority"):
        name = "root" if row.authority.level == "root" else "complete"
        der = bytes(row.der)
        pem = x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)
        if row.slot is not None:
            name = "shard"
        else:
            lists.append(pem)
        parts[f"{name}.crl"], parts[f"{name}.crl.pem"] = der, pem
    parts["lists.pem"] = b"".join(lists)
    for name, content in parts.items():
        (folder / name).write_bytes(content)


# --- OpenSSL -------------------------------------------------------------------------------


@needs("openssl")
def test_openssl_verifies_the_chain_strictly_and_with_the_lists(
    everything: Everything,
) -> None:
    verify = [
        "openssl",
        "verify",
        "-x509_strict",
        "-purpose",
        "sslclient",
        "-auth_level",
        "2",
        *everything.now(),
        "-CAfile",
        everything.path("root.pem"),
        "-untrusted",
        everything.path("chain.pem"),
        "-CRLfile",
        everything.path("lists.pem"),
        "-crl_check_all",
    ]

    assert "OK" in run_tool(*verify, everything.path("good.pem"))
    assert "revoked" in run_failing_tool(*verify, everything.path("bad.pem"))
    extended = [*verify, "-extended_crl"]
    assert "OK" in run_tool(*extended, everything.path("good.pem"))


@needs("openssl")
def test_openssl_takes_the_shard_alone_for_its_certificates(
    everything: Everything,
) -> None:
    verify = [
        "openssl",
        "verify",
        "-x509_strict",
        "-extended_crl",
        "-crl_check",
        *everything.now(),
        "-partial_chain",
        "-CAfile",
        everything.path("ca.pem"),
        "-CRLfile",
        everything.path("shard.crl.pem"),
    ]

    assert "OK" in run_tool(*verify, everything.path("good.pem"))
    assert "revoked" in run_failing_tool(*verify, everything.path("bad.pem"))


@needs("openssl")
def test_openssl_refuses_it_for_a_server_and_after_its_end(
    everything: Everything,
) -> None:
    verify = [
        "openssl",
        "verify",
        "-CAfile",
        everything.path("root.pem"),
        "-untrusted",
        everything.path("chain.pem"),
    ]
    late = str(int(datetime.now(UTC).timestamp()) + 400 * 86_400)

    server = run_failing_tool(
        *verify, "-purpose", "sslserver", *everything.now(), everything.path("good.pem")
    )
    assert "purpose" in server
    assert "expired" in run_failing_tool(
        *verify, "-attime", late, everything.path("good.pem")
    )


@needs("openssl")
def test_openssl_reads_the_list_as_we_mean_it(everything: Everything) -> None:
    output = run_tool(
        "openssl", "crl", "-in", everything.path("shard.crl.pem"), "-text"
    )

    assert "Version 2" in output
    assert "Issuing Distribution Point: critical" in output
    assert "Key Compromise" in output
    assert output.count("Serial Number:") == 2
    assert output.count("X509v3 CRL Reason Code") == 1, "none for unspecified"
    verified = run_tool(
        "openssl",
        "crl",
        "-in",
        everything.path("complete.crl.pem"),
        "-noout",
        "-CAfile",
        everything.path("ca.pem"),
    )
    assert "verify OK" in verified


@needs("openssl")
@pytest.mark.parametrize("digest", ["-sha1", "-sha256"])
def test_openssl_asks_and_understands_the_answers(
    everything: Everything, client: Any, digest: str
) -> None:
    """Its exit status says nothing: what it prints does."""
    names, expected = ("good.pem", "bad.pem"), ("good", "revoked")
    for name, status in zip(names, expected, strict=True):
        request, response = everything.path("q.der"), everything.path("a.der")
        about = ("-issuer", everything.path("ca.pem"), "-cert", everything.path(name))
        run_tool("openssl", "ocsp", digest, *about, "-reqout", request)
        answer = client.post(
            "/certificates/ocsp",
            Path(request).read_bytes(),
            "application/ocsp-request",
        )
        Path(response).write_bytes(answer.content)
        output = run_tool(
            "openssl",
            "ocsp",
            digest,
            *about,
            "-respin",
            response,
            "-no_nonce",
            "-CAfile",
            everything.path("root.pem"),
            "-verify_other",
            everything.path("chain.pem"),
        )
        assert "Response verify OK" in output, output
        assert f"{everything.path(name)}: {status}" in output, output
        if status == "revoked":
            assert "keyCompromise" in output


# --- GnuTLS ----------------------------------------------------------------------------------


@needs("certtool")
def test_gnutls_verifies_the_chain_and_the_list(everything: Everything) -> None:
    chain = Path(everything.path("whole.pem"))
    chain.write_bytes(
        Path(everything.path("good.pem")).read_bytes()
        + Path(everything.path("chain.pem")).read_bytes()
    )

    output = run_tool(
        "certtool",
        "--verify",
        "--infile",
        str(chain),
        "--load-ca-certificate",
        everything.path("root.pem"),
        "--verify-purpose",
        "1.3.6.1.5.5.7.3.2",
    )
    assert "Verified. The certificate is trusted." in output
    for name, signer in (("complete", "ca"), ("shard", "ca")):
        output = run_tool(
            "certtool",
            "--verify-crl",
            "--infile",
            everything.path(f"{name}.crl.pem"),
            "--load-ca-certificate",
            everything.path(f"{signer}.pem"),
        )
        assert "Verified" in output, output


@needs("ocsptool", "openssl")
def test_gnutls_asks_and_understands_the_answers(
    everything: Everything, client: Any
) -> None:
    for name, status in (("good.pem", "good"), ("bad.pem", "revoked")):
        request, response = everything.path("q.der"), everything.path("a.der")
        about = (
            "--load-issuer",
            everything.path("ca.pem"),
            "--load-cert",
            everything.path(name),
        )
        run_tool(
            "ocsptool", "--generate-request", *about, "--outfile", request, "--nonce"
        )
        answer = client.post(
            "/certificates/ocsp",
            Path(request).read_bytes(),
            "application/ocsp-request",
        )
        Path(response).write_bytes(answer.content)
        output = run_tool("ocsptool", "--response-info", "--infile", response)
        assert f"Certificate Status: {status}" in output
        verified = run_tool(
            "ocsptool",
            "--verify-response",
            "--load-response",
            response,
            "--load-signer",
            everything.path("responder.pem"),
        )
        assert "Success" in verified, verified


# --- pkilint ------------------------------------------------------------------------------------

# A limit of the linter's library, not of the certificate: RFC 9562 §4 makes it a URI.
KNOWN = 'Invalid URI syntax: ""urn:uuid:'


def linted(tool: str, path: str, *words: str) -> list[str]:
    """What a linter warns of, or worse."""
    done = subprocess.run(
        [found(tool) or tool, "lint", *words, "-s", "WARNING", "-f", "CSV", path],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "node_path" in done.stdout, done.stdout + done.stderr
    lines = done.stdout.splitlines()[1:]
    return [line for line in lines if line and KNOWN not in line]


@needs("lint_pkix_cert", "lint_crl", "lint_ocsp_response")
def test_pkilint_has_nothing_against_anything_of_it(
    everything: Everything, client: Any
) -> None:
    for name in ("good", "ca", "root", "responder"):
        assert linted("lint_pkix_cert", everything.path(f"{name}.pem")) == [], name
    for name in ("complete", "shard"):
        path = everything.path(f"{name}.crl.pem")
        assert linted("lint_crl", path, "-t", "CRL", "-p", "PKIX") == [], name
    for row in (everything.good, everything.bad):
        request = everything.path("q.der")
        certificate = everything.path(
            "good.pem" if row == everything.good else "bad.pem"
        )
        issuer = ("-issuer", everything.path("ca.pem"))
        run_tool("openssl", "ocsp", *issuer, "-cert", certificate, "-reqout", request)
        answer = client.post(
            "/certificates/ocsp",
            Path(request).read_bytes(),
            "application/ocsp-request",
        )
        Path(everything.path("a.der")).write_bytes(answer.content)
        assert linted("lint_ocsp_response", everything.path("a.der")) == []


@needs("lint_pkix_signer_signee_cert_chain")
def test_pkilint_has_nothing_against_how_they_hang_together(
    everything: Everything,
) -> None:
    done = subprocess.run(
        [
            found("lint_pkix_signer_signee_cert_chain") or "",
            "lint",
            everything.path("ca.pem"),
            everything.path("good.pem"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "ERROR" not in done.stdout, done.stdout


@needs("faketime", "openssl")
def test_when_the_clock_has_gone_on_the_list_is_over(everything: Everything) -> None:
    later = (datetime.now(UTC) + timedelta(days=8)).strftime("%Y-%m-%d %H:%M:%S")

    output = run_failing_tool(
        "faketime",
        later,
        "openssl",
        "verify",
        "-crl_check",
        "-partial_chain",
        "-CAfile",
        everything.path("ca.pem"),
        "-CRLfile",
        everything.path("complete.crl.pem"),
        everything.path("good.pem"),
    )

    assert "CRL has expired" in output


def test_all_that_should_be_trusted_is_in_the_bundle(everything: Everything) -> None:
    bundle = authorities.trusted_certificates()
    chain = x509.load_pem_x509_certificates(
        Path(everything.path("chain.pem")).read_bytes()
    )
    assert set(bundle) == set(chain)


def test_the_peers_are_all_here_when_they_have_to_be() -> None:
    if os.environ.get("PKI_PEERS") == "required":
        for tool in ("openssl", "certtool", "ocsptool", "pki", "nginx", "curl"):
            assert found(tool), tool
    assert tool_marks("no-such-tool")
