"""API of products, packages and package files. Devices can only download files."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core import clock, downloads, uploads
from core.querysets import first_or_raise
from core.rest.bodies import validated_body
from core.rest.caching import not_modified_response
from core.rest.documentation import IF_NONE_MATCH, NOT_MODIFIED, error_response
from core.rest.negotiation import SingleFormatNegotiation
from core.rest.strict import RejectUnknownParameters
from devices.registry.api.authentication import IsDevice, IsDeviceOrMember, calling_device
from devices.remote_control.services import signing_keys
from devices.updates.api.filters import PackageFilter
from devices.updates.api.permissions import MayPublish, MayUseKeys
from devices.updates.api.serializers import (
    HEX,
    PackageChanges,
    PackageFields,
    PackageSerializer,
    ProductFields,
    ProductName,
    ProductSerializer,
    ReleaseFields,
    UpdateKeysSerializer,
    WithdrawFields,
)
from devices.updates.errors import (
    DiskFull,
    LengthRequired,
    PackageFileMissing,
    PackageNotFound,
    ProductNotFound,
    UploadTooLarge,
    UploadTruncated,
)
from devices.updates.models import SoftwareProduct, SoftwareUpdate, UpdateSigningKey
from devices.updates.services import offers, package_files, packages, products, signing

BINARY_TYPE = "application/octet-stream"
BINARY = {BINARY_TYPE: {"type": "string", "format": "binary"}}


class ProductsView(ListAPIView[SoftwareProduct]):
    """List products, or create a product."""

    permission_classes = (MayPublish,)
    serializer_class = ProductSerializer
    ordering = ("name", "id")
    filter_backends = (RejectUnknownParameters,)

    def get_queryset(self) -> QuerySet[SoftwareProduct]:
        return SoftwareProduct.objects.all()

    @extend_schema(request=ProductFields, responses={201: ProductSerializer})
    def post(self, request: Request) -> Response:
        fields = validated_body(ProductFields, request)
        row = products.create(now=clock.now(), **fields)
        return Response(ProductSerializer(row).data, status.HTTP_201_CREATED)


class ProductView(APIView):
    """Get, rename or delete a product. Its versioning scheme cannot be changed."""

    permission_classes = (MayPublish,)

    @extend_schema(responses=ProductSerializer)
    def get(self, request: Request, product_id: UUID) -> Response:
        return Response(ProductSerializer(_product(pk=product_id)).data)

    @extend_schema(request=ProductName, responses=ProductSerializer)
    def patch(self, request: Request, product_id: UUID) -> Response:
        product = _product(pk=product_id)
        name = validated_body(ProductName, request).get("name", product.name)
        row = products.rename(product=product, name=name, now=clock.now())
        return Response(ProductSerializer(row).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, product_id: UUID) -> Response:
        products.delete(product=_product(pk=product_id))
        return Response(status=status.HTTP_204_NO_CONTENT)


class PackagesView(ListAPIView[SoftwareUpdate]):
    """List packages, the newest first. Or create a draft of a package."""

    permission_classes = (MayPublish,)
    serializer_class = PackageSerializer
    ordering = ("-created_at", "-id")
    filter_backends = (RejectUnknownParameters, PackageFilter.Backend)
    filterset_class = PackageFilter

    def get_queryset(self) -> QuerySet[SoftwareUpdate]:
        return SoftwareUpdate.objects.select_related("product")

    @extend_schema(request=PackageFields, responses={201: PackageSerializer})
    def post(self, request: Request) -> Response:
        fields = validated_body(PackageFields, request)
        product = _product(name=fields.pop("product"))
        row = packages.create(product=product, now=clock.now(), **fields)
        return Response(PackageSerializer(row).data, status.HTTP_201_CREATED)


class PackageView(APIView):
    """Get a package. A package that is a draft can also be changed or deleted."""

    permission_classes = (MayPublish,)

    @extend_schema(responses=PackageSerializer)
    def get(self, request: Request, package_id: UUID) -> Response:
        return Response(PackageSerializer(get_package(package_id)).data)

    @extend_schema(request=PackageChanges, responses=PackageSerializer)
    def patch(self, request: Request, package_id: UUID) -> Response:
        fields = validated_body(PackageChanges, request)
        row = packages.change(package=get_package(package_id), **fields)
        return Response(PackageSerializer(row).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, package_id: UUID) -> Response:
        packages.delete(package=get_package(package_id))
        return Response(status=status.HTTP_204_NO_CONTENT)


class ReleaseView(APIView):
    """Release a package. A released package is immutable and can be rolled out."""

    permission_classes = (MayPublish,)

    @extend_schema(request=ReleaseFields, responses=PackageSerializer)
    def post(self, request: Request, package_id: UUID) -> Response:
        fields = validated_body(ReleaseFields, request)
        if "sha256" in fields:
            fields["sha256"] = fields["sha256"].lower()
        row = packages.release(package=get_package(package_id), now=clock.now(), **fields)
        return Response(PackageSerializer(row).data)


class WithdrawView(APIView):
    """Withdraw a package and abort its rollouts."""

    permission_classes = (MayPublish,)

    @extend_schema(request=WithdrawFields, responses=PackageSerializer)
    def post(self, request: Request, package_id: UUID) -> Response:
        fields = validated_body(WithdrawFields, request)
        row = packages.withdraw(package=get_package(package_id), now=clock.now(), **fields)
        return Response(PackageSerializer(row).data)


class AnyParser(BaseParser):
    """A parser for any content type. The view reads the body in chunks."""

    media_type = "*/*"


class PackageFileView(APIView):
    """Upload the file of a draft, or download the file of a package as a device."""

    http_method_names = ("get", "put", "options")  # HEAD would use a download slot
    parser_classes = (AnyParser,)
    content_negotiation_class = SingleFormatNegotiation

    def get_permissions(self) -> list[Any]:
        by_method: dict[str | None, Any] = {"GET": IsDevice, "PUT": MayPublish}
        return [by_method.get(self.request.method, IsDeviceOrMember)()]

    @extend_schema(
        parameters=[
            IF_NONE_MATCH,
            OpenApiParameter("Range", location="header", description="A single byte range."),
            OpenApiParameter(
                "If-Range",
                location="header",
                description="ETag of the file whose download is resumed.",
            ),
        ],
        responses={
            (200, BINARY_TYPE): bytes,
            (206, BINARY_TYPE): bytes,
            304: NOT_MODIFIED,
            416: error_response("The range begins behind the end of the file."),
        },
        description="Download the file or a range of it (RFC 9110 §14). Only a device that is"
        " currently offered the package can download it. The response is 429 if all"
        " download slots are in use or the maintenance window is closed.",
    )
    def get(self, request: Request, package_id: UUID) -> HttpResponseBase:
        package = offers.claim_download(calling_device(request), package_id, now=clock.now())
        return package_file_response(request._request, package)

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "sha256",
                {"type": "string", "pattern": f"^{HEX}$"},
                description="Expected SHA-256. A file with another hash is rejected.",
            )
        ],
        request=BINARY,
        responses=PackageSerializer,
        description="Upload the file of a draft. The request body is the new file, which"
        " replaces the previous file.",
    )
    def put(self, request: Request, package_id: UUID) -> HttpResponseBase:
        package = get_package(package_id)
        row = store_uploaded_file(
            request._request, package, sha256=request.query_params.get("sha256", "")
        )
        if row is None:
            return uploads.admission_response(packages.max_package_size(), owner=package.tenant_id)
        return Response(PackageSerializer(row).data)


class UpdateKeysView(APIView):
    """Get the public keys that verify the tenant's packages, or replace the signing keys."""

    permission_classes = (MayUseKeys,)

    @extend_schema(operation_id="update_keys", responses=UpdateKeysSerializer)
    def get(self, request: Request) -> Response:
        return Response({"keys": _public_keys()})

    @extend_schema(
        request=None,
        responses={201: UpdateKeysSerializer},
        description="Replace the signing key and sign all packages again. Devices get"
        " the new public key with their configuration.",
    )
    def post(self, request: Request) -> Response:
        signing.replace_key(now=clock.now())
        return Response({"keys": _public_keys()}, status.HTTP_201_CREATED)


def _public_keys() -> list[dict[str, str]]:
    """Return the active keys, the Ed25519 key first."""
    keys = UpdateSigningKey.objects.filter(replaced_at__isnull=True)
    return [signing_keys.jwk(key) for key in sorted(keys, key=signing.by_preference)]


def store_uploaded_file(
    request: HttpRequest, package: SoftwareUpdate, *, sha256: str = ""
) -> SoftwareUpdate | None:
    """Store the body of a request as the file of a package.

    Args:
        sha256: expected hash in hexadecimal. If empty, the hash is not checked.

    Returns:
        The package; None for an `AdmissionRequest`, which has no body yet.

    Raises:
        LengthRequired, UploadTooLarge, UploadTruncated: the body has no declared length,
            is too large, or is incomplete. Nothing is stored.
        DiskFull: the disk is nearly full.
        DomainError: see `packages.receive`.
    """
    packages.check_receivable(package, length=uploads.declared_length(request))
    packages.check_sha256(sha256)
    try:
        with uploads.receive_upload(request, most=packages.max_package_size()) as spooled:
            if spooled is None:
                return None
            return packages.receive(
                package=package, spooled=spooled, sha256=sha256, now=clock.now()
            )
    except uploads.LengthUnknown as error:
        raise LengthRequired from error
    except uploads.InsufficientDiskSpace as error:
        raise DiskFull from error
    except uploads.TooLarge as error:
        raise UploadTooLarge(packages.max_package_size()) from error
    except uploads.IncompleteUpload as error:
        raise UploadTruncated from error


def package_file_response(request: HttpRequest, package: SoftwareUpdate) -> HttpResponseBase:
    """Return a response with the file of a package, or with the requested range of the file.

    If `PACKAGES_ACCEL` is set, the proxy sends the file.

    Raises:
        PackageFileMissing: the file does not exist, or has another size.
    """
    content_type, etag = _content_type(package), f'"{package.sha256}"'
    size = package.size or 0
    if size != package_files.size_of(package.stored_name):
        raise PackageFileMissing
    if (not_modified := not_modified_response(request, etag)) is not None:
        return not_modified
    path = package_files.local_path(package.stored_name)
    response: HttpResponseBase
    try:
        response = downloads.file_response(
            request,
            size=size,
            etag=etag,
            content_type=content_type,
            path=path,
            chunks=lambda start, end: package_files.read_range(package.stored_name, start, end),
        )
    except downloads.RangeNotSatisfiable:
        return _range_not_satisfiable(size)
    if settings.PACKAGES_ACCEL and path is not None:
        location = f"{settings.PACKAGES_ACCEL}/{package.stored_name}"
        response = HttpResponse(headers={"X-Accel-Redirect": location})
        response["Content-Type"] = content_type
    response["Cache-Control"] = "private, no-transform"
    return response


def _range_not_satisfiable(size: int) -> Response:
    error = {
        "code": "range_not_satisfiable",
        "detail": f"The file has {size:,} bytes.",
        "attr": None,
    }
    return Response(
        {"type": "client_error", "errors": [error]},
        status.HTTP_416_REQUESTED_RANGE_NOT_SATISFIABLE,
        headers={"Content-Range": f"bytes */{size}"},
    )


def _content_type(package: SoftwareUpdate) -> str:
    is_apk = package.apk is not None
    android = "application/vnd.android.package-archive"
    return android if is_apk else "application/octet-stream"


def get_package(package_id: UUID) -> SoftwareUpdate:
    queryset = SoftwareUpdate.objects.select_related("product")
    return first_or_raise(queryset.filter(pk=package_id), PackageNotFound)


def _product(**lookup: Any) -> SoftwareProduct:
    return first_or_raise(SoftwareProduct.objects.filter(**lookup), ProductNotFound)
