"""How the portal looks: django-unfold's settings."""

from typing import Any

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "provisioning",
    "SITE_HEADER": "provisioning",
}
