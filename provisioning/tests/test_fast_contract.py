"""The OpenAPI document also holds for the answers of the web server's fast path."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import schemathesis
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from schemathesis.generation.hypothesis.builder import (
    HypothesisTestConfig,
    HypothesisTestMode,
    create_test,
)

from certificates.tests.keys import ec_key, request_for
from provisioning.embedded.endpoints import Endpoints
from provisioning.tests.openapi import openapi_document
from provisioning.tests.own_servers import OwnServers, own_servers, request
from provisioning.tests.test_contract import EXAMPLE_SETTINGS, excluded_checks
from provisioning.tests.test_fast_path import FACTS, SETTINGS, answered_fast

SCHEMA = schemathesis.openapi.from_dict(openapi_document())
SCHEMA.config.generation.allow_extra_parameters = False
LIMITS = ("DEVICE", "SAMPLES", "SAMPLE_BYTES", "VERIFIER", "ADDRESS")


@dataclass
class Caller:
    """A device that is online.

    Attributes:
        version: of its configuration.
        ocsp_request: for the status of its certificate, in DER.
    """

    port: int
    token: str
    version: str
    ocsp_request: bytes
    samples: int = 0

    def sample(self) -> dict[str, Any]:
        self.samples += 1
        recorded_at = datetime.now(UTC) - timedelta(minutes=30) + timedelta(seconds=self.samples)
        return {"recorded_at": recorded_at.isoformat(), "cpu_usage": 12.5}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, migrated: Endpoints) -> Iterator[OwnServers]:
    with own_servers(tmp_path_factory.mktemp("fast_contract"), migrated) as own:
        yield own


@pytest.fixture(scope="module")
def port(own: OwnServers) -> Iterator[int]:
    limits = {f"RATE_{name}": "100000/min" for name in LIMITS}
    with own.serving(**SETTINGS, **limits) as port:
        yield port


@pytest.fixture(scope="module")
def enrollment(own: OwnServers) -> str:
    own.manage("create_tenant", "first", "--owner", "first@example.com", "--json")
    return str(own.manage("create_enrollment_token", "first", "--json")["token"])


@pytest.fixture
def caller(port: int, enrollment: str) -> Caller:
    body = {"serial_number": f"FAST-{uuid4()}", "csr": request_for(ec_key())}
    made = request(port, "/devices/auto-register", enrollment, body).body
    assert request(port, "/devices/connect", made["token"], FACTS).status == 200
    polled = request(port, "/devices/me/configuration", made["token"]).body
    certificate = x509.load_pem_x509_certificate(made["certificate"]["certificate"].encode())
    issuer = x509.load_pem_x509_certificate(request(port, "/certificates/ca.pem").body)
    asked = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, SHA256()).build()
    return Caller(port, made["token"], polled["version"], asked.public_bytes(Encoding.DER))


Usual = Callable[[Caller], dict[str, Any]]


@pytest.mark.parametrize(
    ("method", "path", "view", "usual"),
    [
        ("post", "/devices/connect", "device-connect", lambda _: {"body": FACTS}),
        ("post", "/devices/metrics", "metrics-ingest", lambda caller: {"body": caller.sample()}),
        (
            "get",
            "/devices/me/configuration",
            "my-configuration",
            lambda caller: {"headers": {"If-None-Match": f'"{caller.version}"'}},
        ),
        ("get", "/devices/me/update", "my-update", lambda _: {}),
        (
            "post",
            "/certificates/ocsp",
            "ocsp",
            lambda caller: {"body": caller.ocsp_request, "media_type": "application/ocsp-request"},
        ),
        (
            "get",
            "/certificates/ocsp/{ocsp_request}",
            "ocsp-get",
            lambda caller: {
                "path_parameters": {"ocsp_request": base64.b64encode(caller.ocsp_request).decode()}
            },
        ),
    ],
)
def test_fast_answers_conform_to_the_openapi_document(
    caller: Caller, method: str, path: str, view: str, usual: Usual
) -> None:
    operation = SCHEMA[path][method]

    def conforms(case: Any) -> None:
        token = {"Authorization": f"Bearer {caller.token}"} if "devices" in path else {}
        case.call_and_validate(
            base_url=f"http://127.0.0.1:{caller.port}",
            headers={**(case.headers or {}), **token},
            excluded_checks=excluded_checks(case.operation),
        )

    # The first answer of a kind is an ordinary one.
    conforms(operation.Case(**usual(caller)))
    answered_fast(caller.port, lambda: conforms(operation.Case(**usual(caller))), view=view)
    config = HypothesisTestConfig(
        project=SCHEMA.config, modes=list(HypothesisTestMode), settings=EXAMPLE_SETTINGS
    )
    create_test(operation=operation, test_func=conforms, config=config)()
