"""The name, the colour and the logo of a tenant's portal."""

import hashlib
import io
import re
from datetime import datetime
from typing import IO

from django.db import transaction
from PIL import Image, UnidentifiedImageError

from accounts.errors import InvalidTenant
from accounts.events import TenantUpdated
from events.services.outbox import record
from tenants.models import Tenant, TenantLogo

COLOR = re.compile(r"#[0-9a-fA-F]{6}")
LEAST_CONTRAST = 4.5  # of white text on the colour (WCAG 2.2, 1.4.3)
MAX_BYTES = 2_000_000
MAX_PIXELS = 16_000_000
LOGO_SIZE = (256, 256)  # pixels, at most


def check_color(color: str) -> None:
    """Check that a colour can be used for buttons with white text.

    Raises:
        InvalidTenant: it is no colour, or too light.
    """
    if not color:
        return
    if not COLOR.fullmatch(color):
        raise InvalidTenant("Enter a colour such as #0a5c9e.", field="brand_color")
    if 1.05 / (_luminance(color) + 0.05) < LEAST_CONTRAST:
        sentence = "White text on this colour cannot be read well. Choose a darker one."
        raise InvalidTenant(sentence, field="brand_color")


@transaction.atomic
def set_logo(*, tenant: Tenant, file: IO[bytes] | None, now: datetime) -> None:
    """Set the logo of a tenant, which is stored as a PNG image of at most 256 × 256 pixels.

    Args:
        file: None removes the logo.

    Raises:
        InvalidTenant: it is no image, or too large.
    """
    row = Tenant.objects.select_for_update().get(pk=tenant.pk)
    TenantLogo.objects.filter(tenant=row).delete()
    before, row.logo_version = row.logo_version, ""
    if file is not None:
        image = _image(file)
        row.logo_version = hashlib.sha256(image).hexdigest()[:12]
        TenantLogo.objects.create(tenant=row, image=image)
    row.save(update_fields=["logo_version"])
    if before != row.logo_version:
        changes = {"logo": (before or None, row.logo_version or None)}
        record([TenantUpdated(tenant_id=row.pk, at=now, changes=changes)])


def _image(file: IO[bytes]) -> bytes:
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InvalidTenant("A logo has at most 2 MB.", field="logo")
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP", "GIF")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InvalidTenant("The image has too many pixels.", field="logo")
            small = image.convert("RGBA")
    except (
        Image.DecompressionBombError,
        UnidentifiedImageError,
        OSError,
        ValueError,
        SyntaxError,
    ) as error:
        sentence = "This is no PNG, JPEG, WebP or GIF image."
        raise InvalidTenant(sentence, field="logo") from error
    small.thumbnail(LOGO_SIZE)
    target = io.BytesIO()
    small.save(target, "PNG", optimize=True)
    return target.getvalue()


def _luminance(color: str) -> float:
    """Return the relative luminance of a colour (WCAG 2.2)."""
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
