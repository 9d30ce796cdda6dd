"""What screens show: uploaded once, by who was asked to, and looked into before it is kept."""

import hmac
import io
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import transaction
from PIL import Image

from core.encryption import keyed_digests
from devices.remote_control.errors import InvalidPicture, NoSuchUpload, UploadIsOver
from devices.remote_control.models import CommandHistory, Screenshot, Status
from devices.remote_control.services import queues
from devices.remote_control.services.command_expiry import finish
from tenants.context import every_tenant_scope, tenant_scope

PURPOSE = "screenshot uploads"
CONTENT_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
MOST_BYTES = 2 * 1024 * 1024
MOST_PIXELS = 4096 * 4096
BATCH = 1000


@dataclass(frozen=True, slots=True)
class Picture:
    """What a picture is, by what is in it."""

    content_type: str
    width: int
    height: int


def upload_url(command: CommandHistory) -> str:
    """Where the device puts the picture; good once, until the command is due.

    Its key is worked out anew from the command each time: nothing that could be used is
    kept. It stands in the query, which is not logged.
    """
    secret = keyed_digests(str(command.pk), purpose=PURPOSE)[0]
    return f"{settings.PUBLIC_URL}/screenshots/{command.pk}?key={secret}"


def receive(*, command_id: UUID, secret: str, data: bytes, now: datetime) -> Screenshot:
    """Keep the picture that a device was asked for; its command has succeeded with that.

    Raises:
        NoSuchUpload: nobody was asked to put anything here.
        UploadIsOver: it is here already, or it comes too late.
        InvalidPicture: it is no picture, or too large a one.
    """
    known = keyed_digests(str(command_id), purpose=PURPOSE)
    if not any(
        hmac.compare_digest(secret.encode(), digest.encode()) for digest in known
    ):
        raise NoSuchUpload
    with every_tenant_scope():  # whose it is, is what we are about to find out
        found = CommandHistory.every_tenant.filter(pk=command_id, type="screenshot")
        command: CommandHistory | None = found.first()
    if command is None:
        raise NoSuchUpload
    _check_expected(command, now)
    picture = looked_into(data)  # before anything is held: it takes a while
    with tenant_scope(command.tenant_id):
        return _keep(command, picture, data, now)


def _check_expected(command: CommandHistory, now: datetime) -> None:
    """
    Raises:
        UploadIsOver: nobody waits for a picture, or not any more.
    """
    status = command.status_at(now)
    if status not in (Status.SENT, Status.DELIVERED, Status.RUNNING):
        raise UploadIsOver(status)


@transaction.atomic
def _keep(
    command: CommandHistory, picture: Picture, data: bytes, now: datetime
) -> Screenshot:
    queues.hold([command.device_id])
    row = CommandHistory.objects.get(pk=command.pk)
    _check_expected(row, now)  # again: there may be two uploads at once
    shot = Screenshot.objects.create(
        device_id=row.device_id,
        command=row,
        taken_at=now,
        content_type=picture.content_type,
        width=picture.width,
        height=picture.height,
        size=len(data),
        image=data,
    )
    row.delivered_at = row.delivered_at or now
    finish([row], Status.SUCCEEDED, result={"screenshot": str(shot.pk)}, now=now)
    queues.recount([row.device_id])
    return shot


def looked_into(data: bytes) -> Picture:
    """Read a picture to its end; what it says of itself counts for nothing.

    Raises:
        InvalidPicture: it is none, or too large a one.
    """
    if not data:
        raise InvalidPicture("There is nothing in it.")
    if len(data) > MOST_BYTES:
        raise InvalidPicture(f"At most {MOST_BYTES // 1024:,} KB.")
    try:
        with Image.open(io.BytesIO(data), formats=list(CONTENT_TYPES)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise InvalidPicture(f"At most {MOST_PIXELS:,} pixels.")
            image.load()
            kind = CONTENT_TYPES[str(image.format)]
            return Picture(kind, image.width, image.height)
    except InvalidPicture:
        raise
    except Exception as error:  # whatever a broken picture makes its reader stumble on
        raise InvalidPicture("It is no picture in PNG, JPEG or WebP.") from error


def drop_outlived(*, before: datetime) -> int:
    """Drop the pictures of every tenant from before a moment; return how many."""
    total, found = 0, BATCH
    while found == BATCH:
        old = Screenshot.every_tenant.filter(taken_at__lt=before).order_by("taken_at")
        ids = list(old.values_list("pk", flat=True)[:BATCH])
        Screenshot.every_tenant.filter(pk__in=ids).delete()
        found = len(ids)
        total += found
    return total
