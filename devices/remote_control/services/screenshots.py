"""Screenshots: upload addresses, validation of uploaded images, storage and deletion."""

import hmac
import io
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import transaction
from PIL import Image

from core.encryption import keyed_digests
from devices.registry.errors import DeviceIsQuarantined
from devices.registry.models import Device
from devices.remote_control.errors import InvalidImage, NoSuchUpload, UploadIsClosed
from devices.remote_control.models import CommandHistory, Screenshot, Status
from devices.remote_control.services import queues
from devices.remote_control.services.command_expiry import finish
from tenants.context import every_tenant_scope, tenant_scope

PURPOSE = "screenshot uploads"
CONTENT_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
MAX_BYTES = 2 * 1024 * 1024
MAX_PIXELS = 4096 * 4096
THUMBNAIL_SIZE = (360, 360)  # at most, in pixels; about 12 KB
BATCH = 1000


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """The properties of an image, read from its content."""

    content_type: str
    width: int
    height: int
    thumbnail: bytes


def upload_url(command: CommandHistory) -> str:
    """Return the URL to which the device uploads the screenshot.

    The URL is valid for one upload, until the command is due. The URL contains a key. The
    key is derived from the command's id each time, so no secret is stored. The key is in
    the query string, and query strings are not logged.
    """
    secret = keyed_digests(str(command.pk), purpose=PURPOSE)[0]
    return f"{settings.PUBLIC_URL}/screenshots/{command.pk}?key={secret}"


def receive(*, command_id: UUID, secret: str, data: bytes, now: datetime) -> Screenshot:
    """Store an uploaded screenshot and complete its command.

    Args:
        secret: the key from the upload URL.
        data: the image in PNG, JPEG or WebP.

    Raises:
        NoSuchUpload: the command or the key is wrong.
        DeviceIsQuarantined: the device is in quarantine.
        UploadIsClosed: the screenshot was uploaded already, or the command has ended.
        InvalidImage: the data is not a supported image, or it is too large.
    """
    digests = keyed_digests(str(command_id), purpose=PURPOSE)
    if not any(hmac.compare_digest(secret.encode(), digest.encode()) for digest in digests):
        raise NoSuchUpload
    with every_tenant_scope():  # the tenant is known only once the command is read
        rows = CommandHistory.every_tenant.filter(pk=command_id, type="screenshot")
        command = rows.first()
    if command is None:
        raise NoSuchUpload
    _check_expected(command, now)
    _require_no_quarantine(command)
    image = inspect_image(data)  # slow, therefore before any lock is taken
    with tenant_scope(command.tenant_id):
        return _store(command, image, data, now)


def _check_expected(command: CommandHistory, now: datetime) -> None:
    """Check that the command waits for its screenshot.

    Raises:
        UploadIsClosed: the command does not wait for a screenshot.
    """
    status = command.status_at(now)
    if status not in (Status.SENT, Status.DELIVERED, Status.RUNNING):
        raise UploadIsClosed(status)


def _require_no_quarantine(command: CommandHistory) -> None:
    """Refuse the upload of a device in quarantine.

    Raises:
        DeviceIsQuarantined: the device is in quarantine.
    """
    with every_tenant_scope():
        devices = Device.every_tenant.filter(pk=command.device_id)
        if devices.exclude(quarantined_at=None).exists():
            raise DeviceIsQuarantined


@transaction.atomic
def _store(command: CommandHistory, image: ImageInfo, data: bytes, now: datetime) -> Screenshot:
    queues.lock([command.device_id])
    row = CommandHistory.objects.get(pk=command.pk)
    _require_no_quarantine(row)
    _check_expected(row, now)  # checked again: two uploads may run at once
    screenshot = Screenshot.objects.create(
        device_id=row.device_id,
        command=row,
        taken_at=now,
        content_type=image.content_type,
        width=image.width,
        height=image.height,
        size=len(data),
        image=data,
        thumbnail=image.thumbnail,
    )
    row.delivered_at = row.delivered_at or now
    finish([row], Status.SUCCEEDED, result={"screenshot": str(screenshot.pk)}, now=now)
    queues.recount([row.device_id])
    return screenshot


def inspect_image(data: bytes) -> ImageInfo:
    """Decode an image completely, whatever content type was declared for it.

    Raises:
        InvalidImage: the data is not a supported image, or it is too large.
    """
    if not data:
        raise InvalidImage("The image is empty.")
    if len(data) > MAX_BYTES:
        raise InvalidImage(f"The image must have at most {MAX_BYTES // 1024:,} KB.")
    try:
        with Image.open(io.BytesIO(data), formats=list(CONTENT_TYPES)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InvalidImage(f"The image must have at most {MAX_PIXELS:,} pixels.")
            image.load()
            content_type = CONTENT_TYPES[str(image.format)]
            return ImageInfo(content_type, image.width, image.height, _thumbnail(image))
    except InvalidImage:
        raise
    except Exception as error:  # Pillow raises many types on broken images
        raise InvalidImage("The image must be a valid PNG, JPEG or WebP file.") from error


def _thumbnail(image: Image.Image) -> bytes:
    """Return a small JPEG of an image."""
    small = image.convert("RGB")
    small.thumbnail(THUMBNAIL_SIZE)
    content = io.BytesIO()
    small.save(content, "JPEG", quality=75)
    return content.getvalue()


def delete_old(*, before: datetime) -> int:
    """Delete the screenshots that were taken before a time, of every tenant.

    Return the number of deleted screenshots.
    """
    total, batch_size = 0, BATCH
    while batch_size == BATCH:
        rows = Screenshot.every_tenant.filter(taken_at__lt=before).order_by("taken_at")
        ids = list(rows.values_list("pk", flat=True)[:BATCH])
        Screenshot.every_tenant.filter(pk__in=ids).delete()
        batch_size = len(ids)
        total += batch_size
    return total
