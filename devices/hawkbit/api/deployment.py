"""The JSON that describes a deployment to a device."""

import re
from typing import Any

from django.urls import reverse
from django.utils.text import slugify
from rest_framework.request import Request

from devices.hawkbit.models import HawkbitAction
from devices.hawkbit.services.actions import MAX_MESSAGES
from devices.updates.models import SoftwareUpdate

Path = dict[str, str]  # tenant and controller id, as the device has written them

SUFFIXES = {  # SWUpdate installs files with its suffix only
    SoftwareUpdate.Platform.ANDROID: ".apk",
    SoftwareUpdate.Platform.LINUX: ".swu",
    SoftwareUpdate.Platform.OTHER: ".bin",
}


def artifact_name(package: SoftwareUpdate) -> str:
    """Return the name under which devices download a package, such as `player-2.0.0.swu`."""
    name = slugify(package.product.name) or "package"
    version = slugify(package.version.replace(".", "_")).replace("_", ".") or "0"
    return f"{name}-{version}{SUFFIXES[SoftwareUpdate.Platform(package.platform)]}"


def deployment_body(
    request: Request, action: HawkbitAction, package: SoftwareUpdate, path: Path
) -> dict[str, Any]:
    """Return the description of an action with one file."""
    chunk = {
        "part": "bApp" if package.product.reports == "app_version" else "os",
        "version": package.version,
        "name": package.product.name,
        "artifacts": [artifact(request, package, path)],
    }
    deployment = {"download": "forced", "update": "forced", "chunks": [chunk]}
    body: dict[str, Any] = {"id": str(action.pk), "deployment": deployment}
    if number := _history_length(request):
        state = "FINISHED" if action.closed_at else "RUNNING"
        body["actionHistory"] = {"status": state, "messages": action.messages[::-1][:number]}
    return body


def _history_length(request: Request) -> int:
    """Return how many messages the device asks for: all for a negative number (as in hawkBit)."""
    text = request.query_params.get("actionHistory", "0")
    number = int(text) if re.fullmatch(r"-?\d{1,6}", text, re.ASCII) else 0
    return number if number >= 0 else MAX_MESSAGES


def artifact(request: Request, package: SoftwareUpdate, path: Path) -> dict[str, Any]:
    """Return the description of a package's file."""
    file = {"module_id": str(package.pk), "file_name": artifact_name(package)}
    download = link(request, "artifact", path, **file)
    md5sum = link(request, "artifact-hash", path, **file)
    # Clients without TLS follow the links with `-http`. They are the same addresses.
    links = {"download": download, "md5sum": md5sum}
    links |= {f"{name}-http": address for name, address in links.items()}
    return {
        "filename": file["file_name"],
        "hashes": {"sha1": package.sha1, "md5": package.md5, "sha256": package.sha256},
        "size": package.size,
        "_links": links,
    }


def link(request: Request, name: str, path: Path, **more: Any) -> dict[str, str]:
    """Return a link to a view of this API, on the host that the device has used."""
    target = reverse(f"hawkbit-{name}", kwargs={**path, **more})
    return {"href": request.build_absolute_uri(target)}
