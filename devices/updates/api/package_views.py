"""The doors to products and packages: members make them, devices fetch their files."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core import downloads, uploads
from core.rest.caching import unchanged
from core.rest.negotiation import OneFormOnly
from core.rest.pagination import CursorPages
from core.rest.strict import KnownParameters
from devices.registry.api.authentication import (
    IsDevice,
    IsDeviceOrMember,
    calling_device,
)
from devices.remote_control.api.views import parsed
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

BINARY = {"application/octet-stream": {"type": "string", "format": "binary"}}


class ProductPages(CursorPages):
    def get_ordering(self, request: Request, queryset: Any, view: Any) -> Any:
        return ("name", "id")


class ProductsView(ListAPIView[SoftwareProduct]):
    """What is installed on devices and comes in versions; and one more."""

    permission_classes = (MayPublish,)
    serializer_class = ProductSerializer
    pagination_class = ProductPages
    filter_backends = (KnownParameters,)

    def get_queryset(self) -> QuerySet[SoftwareProduct]:
        return SoftwareProduct.objects.all()

    @extend_schema(request=ProductFields, responses={201: ProductSerializer})
    def post(self, request: Request) -> Response:
        said = parsed(ProductFields, request)
        row = products.create(now=timezone.now(), **said)
        return Response(ProductSerializer(row).data, status.HTTP_201_CREATED)


class ProductView(APIView):
    """One product. How it is numbered stays as it is."""

    permission_classes = (MayPublish,)

    @extend_schema(responses=ProductSerializer)
    def get(self, request: Request, product_id: UUID) -> Response:
        return Response(ProductSerializer(_product(pk=product_id)).data)

    @extend_schema(request=ProductName, responses=ProductSerializer)
    def patch(self, request: Request, product_id: UUID) -> Response:
        product = _product(pk=product_id)
        name = parsed(ProductName, request).get("name", product.name)
        row = products.rename(product=product, name=name, now=timezone.now())
        return Response(ProductSerializer(row).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, product_id: UUID) -> Response:
        products.delete(product=_product(pk=product_id))
        return Response(status=status.HTTP_204_NO_CONTENT)


class PackagePages(CursorPages):
    def get_ordering(self, request: Request, queryset: Any, view: Any) -> Any:
        return ("-created_at", "-id")


class PackagesView(ListAPIView[SoftwareUpdate]):
    """Packages, the newest first; and the draft of one more."""

    permission_classes = (MayPublish,)
    serializer_class = PackageSerializer
    pagination_class = PackagePages
    filter_backends = (KnownParameters, PackageFilter.Backend)
    filterset_class = PackageFilter

    def get_queryset(self) -> QuerySet[SoftwareUpdate]:
        return SoftwareUpdate.objects.select_related("product")

    @extend_schema(request=PackageFields, responses={201: PackageSerializer})
    def post(self, request: Request) -> Response:
        said = parsed(PackageFields, request)
        product = _product(name=said.pop("product"))
        row = packages.create(product=product, now=timezone.now(), **said)
        return Response(PackageSerializer(row).data, status.HTTP_201_CREATED)


class PackageView(APIView):
    """One package; a draft may be changed and dropped."""

    permission_classes = (MayPublish,)

    @extend_schema(responses=PackageSerializer)
    def get(self, request: Request, package_id: UUID) -> Response:
        return Response(PackageSerializer(get_package(package_id)).data)

    @extend_schema(request=PackageChanges, responses=PackageSerializer)
    def patch(self, request: Request, package_id: UUID) -> Response:
        said = parsed(PackageChanges, request)
        row = packages.change(package=get_package(package_id), **said)
        return Response(PackageSerializer(row).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, package_id: UUID) -> Response:
        packages.delete(package=get_package(package_id))
        return Response(status=status.HTTP_204_NO_CONTENT)


class ReleaseView(APIView):
    """From now on a package may be rolled out, and is not changed any more."""

    permission_classes = (MayPublish,)

    @extend_schema(request=ReleaseFields, responses=PackageSerializer)
    def post(self, request: Request, package_id: UUID) -> Response:
        said = parsed(ReleaseFields, request)
        if "sha256" in said:
            said["sha256"] = said["sha256"].lower()
        row = packages.release(
            package=get_package(package_id), now=timezone.now(), **said
        )
        return Response(PackageSerializer(row).data)


class WithdrawView(APIView):
    """Nobody gets a package any more, and its rollouts end."""

    permission_classes = (MayPublish,)

    @extend_schema(request=WithdrawFields, responses=PackageSerializer)
    def post(self, request: Request, package_id: UUID) -> Response:
        said = parsed(WithdrawFields, request)
        row = packages.withdraw(
            package=get_package(package_id), now=timezone.now(), **said
        )
        return Response(PackageSerializer(row).data)


class AnyParser(BaseParser):
    """Whatever it says that it is; the view reads it piece by piece."""

    media_type = "*/*"


class PackageFileView(APIView):
    """A package's file: put there by who makes packages, fetched by who is to have it."""

    http_method_names = ("get", "put", "options")  # a HEAD would take a place
    parser_classes = (AnyParser,)
    content_negotiation_class = OneFormOnly

    def get_permissions(self) -> list[Any]:
        kinds: dict[str | None, Any] = {"GET": IsDevice, "PUT": MayPublish}
        return [kinds.get(self.request.method, IsDeviceOrMember)()]

    @extend_schema(
        parameters=[
            OpenApiParameter("Range", location="header", description="One range."),
            OpenApiParameter("If-Range", location="header", description="An ETag."),
        ],
        responses={(200, "application/octet-stream"): bytes, (206, "*/*"): bytes},
        description="Whole or in part (RFC 9110 §14), for a device that is to install"
        " it now. 429 when others have their turn, or its window is closed.",
    )
    def get(self, request: Request, package_id: UUID) -> HttpResponseBase:
        package = offers.claim_download(
            calling_device(request), package_id, now=timezone.now()
        )
        return package_file_response(request._request, package)

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "sha256",
                {"type": "string", "pattern": f"^{HEX}$"},
                description="What the file has to be; else it is refused.",
            )
        ],
        request=BINARY,
        responses=PackageSerializer,
        description="The body is the file itself: of a draft, as often as need be.",
    )
    def put(self, request: Request, package_id: UUID) -> HttpResponseBase:
        row = store_uploaded_file(
            request._request,
            get_package(package_id),
            sha256=request.query_params.get("sha256", ""),
        )
        if row is None:
            return uploads.admitted(packages.largest())
        return Response(PackageSerializer(row).data)


class UpdateKeysView(APIView):
    """The key that signs the tenant's packages."""

    permission_classes = (MayUseKeys,)

    @extend_schema(operation_id="update_keys", responses=UpdateKeysSerializer)
    def get(self, request: Request) -> Response:
        key = UpdateSigningKey.objects.filter(replaced_at__isnull=True).first()
        return Response({"keys": [signing_keys.jwk(key)] if key else []})

    @extend_schema(
        request=None,
        responses={201: UpdateKeysSerializer},
        description="Sign with a new key: all packages anew. Devices hear of it with"
        " their configuration.",
    )
    def post(self, request: Request) -> Response:
        key = signing.replace_key(now=timezone.now())
        return Response({"keys": [signing_keys.jwk(key)]}, status.HTTP_201_CREATED)


def store_uploaded_file(
    request: HttpRequest, package: SoftwareUpdate, *, sha256: str = ""
) -> SoftwareUpdate | None:
    """Take the body as a package's file; None when the server only asks whether.

    Raises:
        LengthRequired, UploadTooLarge, UploadTruncated: nothing is kept.
        PackageImmutable and more: see `packages.receive`.
    """
    packages.check_receivable(package, length=uploads.said_length(request))
    packages.check_sha256(sha256)
    try:
        with uploads.received(request, most=packages.largest()) as spooled:
            if spooled is None:
                return None
            return packages.receive(
                package=package, spooled=spooled, sha256=sha256, now=timezone.now()
            )
    except uploads.LengthUnknown as error:
        raise LengthRequired from error
    except uploads.NoRoom as error:
        raise DiskFull from error
    except uploads.TooLarge as error:
        raise UploadTooLarge(packages.largest()) from error
    except uploads.BrokenOff as error:
        raise UploadTruncated from error


def package_file_response(
    request: HttpRequest, package: SoftwareUpdate
) -> HttpResponseBase:
    """The file, or the part that is asked for; the proxy's work where there is one."""
    kind, etag = _content_type(package), f'"{package.sha256}"'
    size = package.size or 0
    if size != package_files.size_of(package.stored_name):
        raise PackageFileMissing
    if (known := unchanged(request, etag)) is not None:
        return known
    path = package_files.local_path(package.stored_name)
    response: HttpResponseBase
    try:
        response = downloads.answer(
            request,
            size=size,
            etag=etag,
            content_type=kind,
            path=path,
            chunks=lambda start, end: package_files.read_range(
                package.stored_name, start, end
            ),
        )
    except downloads.Unsatisfiable:
        return _range_not_satisfiable(size)
    if settings.PACKAGES_ACCEL and path is not None:
        place = f"{settings.PACKAGES_ACCEL}/{package.stored_name}"
        response = HttpResponse(headers={"X-Accel-Redirect": place})
        response["Content-Type"] = kind
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
    rows = SoftwareUpdate.objects.select_related("product")
    row: SoftwareUpdate | None = rows.filter(pk=package_id).first()
    if row is None:
        raise PackageNotFound
    return row


def _product(**which: Any) -> SoftwareProduct:
    row: SoftwareProduct | None = SoftwareProduct.objects.filter(**which).first()
    if row is None:
        raise ProductNotFound
    return row
