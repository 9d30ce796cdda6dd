"""Tests of creating, uploading, releasing and withdrawing packages, and of products."""

import gzip
import hashlib
import io
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.test import override_settings
from rest_framework.test import APIClient

from core.jws import base64url_decode
from devices.configurations.services import effective
from devices.registry.models import Device
from devices.remote_control.tests.remote_control import claims, errors
from devices.updates.models import SoftwareProduct, SoftwareUpdate, UpdateSigningKey
from devices.updates.services import packages, signing
from devices.updates.tests.packages import SIGNER, build_apk, sign
from devices.updates.tests.rollouts import (
    CONTENT,
    create_devices,
    create_draft,
    create_member,
    create_product,
    create_released_package,
    run_due_steps,
    spool_file,
    start_rollout,
    status_counts,
)
from tenants.models import Role, Tenant

pytestmark = pytest.mark.django_db
PACKAGES = "/updates/packages"
BINARY = "application/octet-stream"

Member = Callable[..., APIClient]


@pytest.fixture
def publisher(acting: Tenant, member: Member) -> APIClient:
    return member(Role.ADMIN)


def post_package(publisher: APIClient, now: datetime, **fields: Any) -> dict[str, Any]:
    create_product(now)
    body = {"product": "player", "version": "2.0.0", **fields}
    response = publisher.post(PACKAGES, body)
    assert response.status_code == 201, response.json()
    package: dict[str, Any] = response.json()
    return package


def put(publisher: APIClient, package_id: str, content: bytes, query: str = "") -> Any:
    path = f"{PACKAGES}/{package_id}/file{query}"
    return publisher.put(path, content, content_type=BINARY)


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_a_package_is_created_uploaded_and_released(
    publisher: APIClient, now: datetime, package_files: Path
) -> None:
    package = post_package(publisher, now, changelog="Faster.", target_models=["X96"])
    assert (package["state"], package["size"]) == ("draft", None)

    uploaded = put(publisher, package["id"], CONTENT)
    assert uploaded.status_code == 200, uploaded.json()
    assert uploaded.json()["size"] == len(CONTENT)
    assert uploaded.json()["sha256"] == hashlib.sha256(CONTENT).hexdigest()

    released_ = publisher.post(f"{PACKAGES}/{package['id']}/release")
    assert (released_.status_code, released_.json()["state"]) == (200, "released")
    assert [path.read_bytes() for path in files(package_files)] == [CONTENT]


def test_the_configuration_has_the_key_that_verifies_the_signature(
    publisher: APIClient, device: Device, now: datetime
) -> None:
    package = post_package(publisher, now)
    signature = put(publisher, package["id"], CONTENT).json()["signature"]

    configuration, _ = effective.explain(device)
    key, other = configuration.document["update_keys"]
    assert (key["alg"], other["alg"]) == ("EdDSA", "ES256")
    text, _, signed = signature.rpartition(".")
    public = Ed25519PublicKey.from_public_bytes(base64url_decode(key["x"]))
    public.verify(base64url_decode(signed), text.encode())
    payload = claims(signature)
    assert payload["package"] == package["id"]
    assert payload["version"] == "2.0.0"
    assert payload["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert payload["size"] == len(CONTENT)


def test_replacing_the_key_signs_packages_again_and_changes_configurations(
    publisher: APIClient, device: Device, now: datetime
) -> None:
    package = post_package(publisher, now)
    put(publisher, package["id"], CONTENT)
    before = effective.explain(device)[0]

    response = publisher.post("/updates/signing-keys")

    after = effective.explain(device)[0]
    row = SoftwareUpdate.objects.get()
    assert response.json()["keys"] == after.document["update_keys"]
    assert before.version != after.version
    key, _ = after.document["update_keys"]
    text, _, signed = row.signature.rpartition(".")
    public = Ed25519PublicKey.from_public_bytes(base64url_decode(key["x"]))
    public.verify(base64url_decode(signed), text.encode())


def test_the_private_key_is_encrypted(acting: Tenant, now: datetime) -> None:
    key = signing.current_key(now=now)

    row = UpdateSigningKey.objects.get(pk=key.pk)
    assert row.public_key not in row.private_key
    assert len(row.private_key) > 80
    assert signing.reencrypt() == {"update_signing_keys": 1}


def test_a_released_package_is_immutable(
    publisher: APIClient, now: datetime, tmp_path: Path
) -> None:
    row = create_released_package(now, tmp_path / "in")
    path = f"{PACKAGES}/{row.pk}"

    responses = [
        publisher.patch(path, {"changelog": "Better."}),
        put(publisher, str(row.pk), b"other"),
        publisher.post(f"{path}/release"),
        publisher.delete(path),
    ]

    assert [errors(response) for response in responses] == [
        (409, [("package_immutable", None)])
    ] * 4
    assert SoftwareUpdate.objects.get().sha256 == row.sha256


def test_a_draft_can_be_changed_and_deleted(
    publisher: APIClient,
    now: datetime,
    package_files: Path,
    django_capture_on_commit_callbacks: Any,
) -> None:
    path = f"{PACKAGES}/{post_package(publisher, now)['id']}"
    changed = publisher.patch(path, {"minimum_version": "1.5", "platform": "linux"})
    assert changed.json()["minimum_version"] == "1.5"
    with django_capture_on_commit_callbacks(execute=True):
        assert put(publisher, path.rpartition("/")[2], CONTENT).status_code == 200
        assert put(publisher, path.rpartition("/")[2], b"again").status_code == 200
    assert [path.read_bytes() for path in files(package_files)] == [b"again"]

    with django_capture_on_commit_callbacks(execute=True):
        assert publisher.delete(path).status_code == 204

    assert not files(package_files)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"version": "two"}, ("invalid_version", "version")),
        ({"version": "2.0"}, ("version_exists", "version")),  # equals 2.0.0
        ({"product": "kiosk"}, ("product_not_found", "product")),
        ({"minimum_version": "3.0"}, ("invalid_version", "minimum_version")),
        ({"minimum_version": "old"}, ("invalid_version", "minimum_version")),
        ({"target_models": [""]}, ("blank", "target_models.0")),
        ({"platform": "windows"}, ("invalid_choice", "platform")),
        ({"colour": "red"}, ("unknown_field", "colour")),
    ],
)
def test_an_invalid_package_is_rejected(
    publisher: APIClient, now: datetime, fields: dict[str, Any], error: tuple[str, str]
) -> None:
    post_package(publisher, now)

    response = publisher.post(PACKAGES, {"product": "player", "version": "2.1", **fields})

    assert errors(response)[1] == [error]
    assert SoftwareUpdate.objects.count() == 1


def test_a_file_with_a_wrong_checksum_is_not_stored(
    publisher: APIClient, now: datetime, package_files: Path
) -> None:
    package = post_package(publisher, now)

    wrong = put(publisher, package["id"], CONTENT, f"?sha256={'0' * 64}")
    malformed = put(publisher, package["id"], CONTENT, "?sha256=abc")
    right = put(
        publisher, package["id"], CONTENT, f"?sha256={hashlib.sha256(CONTENT).hexdigest().upper()}"
    )

    assert errors(wrong) == (400, [("wrong_checksum", None)])
    assert errors(malformed) == (400, [("invalid_package", "sha256")])
    assert right.status_code == 200
    assert len(files(package_files)) == 1


def test_an_interrupted_upload_stores_nothing(
    publisher: APIClient, now: datetime, package_files: Path, tmp_path: Path
) -> None:
    package = post_package(publisher, now)

    request: Any = publisher.generic
    response = request(
        "PUT",
        f"{PACKAGES}/{package['id']}/file",
        CONTENT[:100],
        content_type=BINARY,
        CONTENT_LENGTH=str(len(CONTENT)),
        **{"wsgi.input": io.BytesIO(CONTENT[:100])},
    )

    assert errors(response) == (400, [("upload_truncated", None)])
    assert not files(package_files)
    assert not files(tmp_path / "uploads")
    assert SoftwareUpdate.objects.get().sha256 == ""


@override_settings(PACKAGE_LIMIT_MB=1)
def test_a_file_that_is_too_large_is_rejected(
    publisher: APIClient, now: datetime, package_files: Path
) -> None:
    package = post_package(publisher, now)

    response = put(publisher, package["id"], b"\0" * 1_000_001)

    assert errors(response) == (400, [("upload_too_large", None)])
    assert not files(package_files)


def test_an_empty_file_is_rejected(publisher: APIClient, now: datetime) -> None:
    package = post_package(publisher, now)

    path = f"{PACKAGES}/{package['id']}/file"
    empty = publisher.generic("PUT", path, content_type=BINARY, CONTENT_LENGTH="0")
    assert errors(empty) == (400, [("invalid_package", None)])
    assert errors(publisher.post(f"{PACKAGES}/{package['id']}/release")) == (
        409,
        [("package_without_file", None)],
    )


def test_the_manifest_of_an_android_package_is_stored(publisher: APIClient, now: datetime) -> None:
    package = post_package(publisher, now)

    uploaded = put(publisher, package["id"], build_apk("com.example.tv", minSdkVersion=28)).json()

    assert uploaded["apk"] == {
        "application_id": "com.example.tv",
        "version_name": "2.0.0",
        "version_code": 7,
        "minimum_sdk": 28,
        "target_sdk": None,
        "application_label": None,
        "signers": [],
        "abis": [],
    }


@pytest.fixture
def apk_product(acting: Tenant, now: datetime) -> SoftwareProduct:
    return create_product(now, "signage", file_format="apk")


@pytest.mark.parametrize(
    "content",
    [b"<!DOCTYPE html><html>", gzip.compress(b"player"), b"\0" * 5000],
    ids=["html", "gzip", "zeros"],
)
def test_a_product_of_android_packages_accepts_no_other_files(
    publisher: APIClient, now: datetime, apk_product: SoftwareProduct, content: bytes
) -> None:
    package = post_package(publisher, now, product="signage")

    assert errors(put(publisher, package["id"], content)) == (400, [("invalid_apk", None)])


def test_a_product_with_a_released_android_package_accepts_no_other_files(
    publisher: APIClient, now: datetime, tmp_path: Path
) -> None:
    create_released_package(now, tmp_path / "in", "1.9", content=build_apk(versionName="1.9"))
    package = post_package(publisher, now)

    assert errors(put(publisher, package["id"], b"\0" * 5000)) == (400, [("invalid_apk", None)])


def test_a_web_page_is_not_accepted_as_a_file(publisher: APIClient, now: datetime) -> None:
    package = post_package(publisher, now)

    response = put(publisher, package["id"], b"\r\n <html><body>Sign in</body></html>")

    assert errors(response) == (400, [("invalid_apk", None)])


def release(publisher: APIClient, package: dict[str, Any], **fields: Any) -> Any:
    return publisher.post(f"{PACKAGES}/{package['id']}/release", fields)


def test_an_android_package_without_a_signature_needs_a_confirmation(
    publisher: APIClient, now: datetime, apk_product: SoftwareProduct
) -> None:
    package = post_package(publisher, now, product="signage")
    put(publisher, package["id"], build_apk())

    refused = release(publisher, package)
    confirmed = release(publisher, package, confirm_signer=True)

    assert errors(refused) == (409, [("signer_not_confirmed", "confirm_signer")])
    assert confirmed.json()["state"] == "released"


def test_another_signer_needs_a_confirmation(
    publisher: APIClient, now: datetime, tmp_path: Path
) -> None:
    first = sign(build_apk(versionName="1.9"))
    create_released_package(now, tmp_path / "in", "1.9", content=first)
    package = post_package(publisher, now)

    put(publisher, package["id"], sign(build_apk(), b"another certificate"))
    assert errors(release(publisher, package))[1] == [("signer_not_confirmed", "confirm_signer")]
    put(publisher, package["id"], sign(build_apk()))

    assert release(publisher, package).json()["apk"]["signers"] == [SIGNER]


def test_a_lower_version_code_is_rejected(
    publisher: APIClient, now: datetime, tmp_path: Path
) -> None:
    older = build_apk(versionName="1.9", versionCode=20)
    create_released_package(now, tmp_path / "in", "1.9", content=older)
    package = post_package(publisher, now)

    lower = put(publisher, package["id"], build_apk(versionCode=19))
    equal = put(publisher, package["id"], build_apk(versionCode=20))

    assert errors(lower) == (400, [("invalid_apk", None)])
    assert "lower than 20" in lower.json()["errors"][0]["detail"]
    assert equal.status_code == 200


def test_a_version_code_can_be_the_version_of_a_product(
    publisher: APIClient, acting: Tenant, now: datetime
) -> None:
    create_product(now, "signage", versioning="code")
    package = post_package(publisher, now, product="signage", version="200")

    other = put(publisher, package["id"], build_apk(versionCode=199))
    same = put(publisher, package["id"], build_apk(versionCode=200, versionName="2.0-beta"))

    assert errors(other) == (400, [("invalid_apk", None)])
    assert same.status_code == 200


def test_a_version_name_may_be_written_in_another_way(publisher: APIClient, now: datetime) -> None:
    package = post_package(publisher, now)

    assert put(publisher, package["id"], build_apk(versionName="v2.0 (7)")).status_code == 200


def test_an_android_package_of_another_version_or_application_is_rejected(
    publisher: APIClient, now: datetime, tmp_path: Path, package_files: Path
) -> None:
    create_released_package(
        now, tmp_path / "in", "1.9", content=build_apk("com.a", versionName="1.9")
    )
    package = post_package(publisher, now)
    before = files(package_files)

    other_version = put(publisher, package["id"], build_apk("com.a", versionName="3.0"))
    other_application = put(publisher, package["id"], build_apk("com.b"))

    assert errors(other_version) == (400, [("invalid_apk", None)])
    assert errors(other_application) == (400, [("invalid_apk", None)])
    assert files(package_files) == before


def test_withdrawing_a_package_cancels_pending_updates(
    publisher: APIClient, acting: Tenant, now: datetime, tmp_path: Path
) -> None:
    create_devices(acting, 3)
    rollout = start_rollout(
        create_released_package(now, tmp_path / "in"), create_member(acting), now
    )
    run_due_steps(now)
    assert status_counts(rollout) == {"pending": 3}

    response = publisher.post(
        f"{PACKAGES}/{rollout.package_id}/withdraw", {"reason": "It crashes."}
    )
    run_due_steps(now)

    rollout.refresh_from_db()
    assert response.json()["withdrawn_because"] == "It crashes."
    assert (rollout.state, status_counts(rollout)) == ("aborted", {"cancelled": 3})
    assert errors(publisher.post(f"{PACKAGES}/{rollout.package_id}/withdraw", {"reason": "?"})) == (
        409,
        [("package_not_released", "package")],
    )


def test_the_file_of_a_withdrawn_package_is_deleted(
    publisher: APIClient,
    now: datetime,
    tmp_path: Path,
    package_files: Path,
    django_capture_on_commit_callbacks: Any,
) -> None:
    row = create_released_package(now, tmp_path / "in")
    packages.withdraw(package=row, reason="It crashes.", now=now)

    with django_capture_on_commit_callbacks(execute=True):
        run_due_steps(now)

    assert files(package_files) == []
    assert publisher.get(f"{PACKAGES}/{row.pk}").json()["sha256"] == row.sha256


@override_settings(PACKAGE_QUOTA_MB=1)
def test_the_packages_of_a_tenant_have_a_quota(
    publisher: APIClient, now: datetime, tmp_path: Path, package_files: Path
) -> None:
    create_released_package(now, tmp_path / "in", "1.9", content=b"\0" * 900_000)
    package = post_package(publisher, now)

    response = put(publisher, package["id"], b"\0" * 200_000)

    assert errors(response) == (409, [("package_quota_exceeded", None)])
    assert response.json()["current"] == {"used": 900_000, "most": 1_000_000}
    assert len(files(package_files)) == 1


def test_a_file_replaced_after_the_check_is_not_released(
    publisher: APIClient, now: datetime
) -> None:
    package = post_package(publisher, now)
    checked = put(publisher, package["id"], b"one").json()["sha256"]
    put(publisher, package["id"], b"two")
    path = f"{PACKAGES}/{package['id']}/release"

    assert errors(publisher.post(path, {"sha256": checked})) == (
        409,
        [("package_file_changed", None)],
    )


def test_renaming_a_product_signs_its_packages_again(publisher: APIClient, now: datetime) -> None:
    package = post_package(publisher, now)
    put(publisher, package["id"], CONTENT)
    product_id = SoftwareUpdate.objects.get().product_id

    publisher.patch(f"/updates/products/{product_id}", {"name": "signage"})

    renamed = publisher.get(f"{PACKAGES}/{package['id']}").json()
    assert claims(renamed["signature"])["product"] == renamed["product"] == "signage"


def test_operators_can_read_but_not_change_packages(
    acting: Tenant, member: Member, now: datetime
) -> None:
    row = create_draft(now)
    operator = member(Role.OPERATOR)

    assert operator.get(f"{PACKAGES}/{row.pk}").status_code == 200
    assert put(operator, str(row.pk), CONTENT).status_code == 403
    assert operator.post(PACKAGES, {"product": "p", "version": "1"}).status_code == 403


def test_orphaned_files_are_deleted(
    acting: Tenant, now: datetime, tmp_path: Path, package_files: Path
) -> None:
    create_released_package(now, tmp_path / "in")
    orphan = package_files / "orphan"
    orphan.write_bytes(b"orphan")
    soon = datetime.fromtimestamp(orphan.stat().st_mtime + 60, tz=now.tzinfo)

    assert packages.delete_orphaned_files(before=now) == 0
    assert packages.delete_orphaned_files(before=soon) == 1
    assert [path.read_bytes() for path in files(package_files)] == [CONTENT]


def test_product_names_are_unique(publisher: APIClient) -> None:
    created = publisher.post("/updates/products", {"name": "kiosk", "versioning": "semver"})
    again = publisher.post("/updates/products", {"name": "kiosk"})
    path = f"/updates/products/{created.json()['id']}"
    renamed = publisher.patch(path, {"name": "signage"})

    assert created.status_code == 201
    assert errors(again) == (409, [("product_exists", "name")])
    assert renamed.json()["name"] == "signage"
    assert publisher.delete(path).status_code == 204
    assert publisher.get(path).status_code == 404


def test_a_product_with_packages_cannot_be_deleted(publisher: APIClient, now: datetime) -> None:
    row = create_draft(now)

    response = publisher.delete(f"/updates/products/{row.product_id}")

    assert errors(response) == (409, [("product_in_use", None)])


def test_a_second_upload_replaces_the_file_of_a_draft(
    acting: Tenant,
    now: datetime,
    tmp_path: Path,
    package_files: Path,
    django_capture_on_commit_callbacks: Any,
) -> None:
    row = create_draft(now)
    with django_capture_on_commit_callbacks(execute=True):
        packages.receive(package=row, spooled=spool_file(tmp_path / "in", b"one"), now=now)
        packages.receive(package=row, spooled=spool_file(tmp_path / "in", b"two"), now=now)

    assert [path.read_bytes() for path in files(package_files)] == [b"two"]


def test_packages_are_filtered(publisher: APIClient, now: datetime, tmp_path: Path) -> None:
    create_released_package(now, tmp_path / "in", "1.9")
    create_draft(now, "2.0.0")

    drafts = publisher.get(f"{PACKAGES}?state=draft").json()["results"]
    of_other = publisher.get(f"{PACKAGES}?product=kiosk").json()["results"]

    assert [package["version"] for package in drafts] == ["2.0.0"]
    assert of_other == []
    assert publisher.get(f"{PACKAGES}?state=").status_code == 400
