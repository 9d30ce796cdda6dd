"""Feedback on a document in the editor: its errors, or the effects of saving it."""

import json
from collections.abc import Callable
from typing import Any

from core.errors import DomainError
from core.json_schema import SchemaError
from devices.configurations import value_formatting
from devices.configurations.admin.edit_target import EditTarget
from devices.configurations.document_validation import find_faults
from devices.configurations.documents import Difference, differences
from devices.configurations.errors import InvalidDocument
from devices.configurations.models import Scope
from devices.configurations.services import layer_comparison
from devices.configurations.services.preview import Preview, preview, preview_platform

MAX_LISTED = 20  # devices in the preview


def preview_context(
    target: EditTarget, text: str, faults: list[SchemaError] | None = None
) -> dict[str, Any]:
    """Return the template context of the preview of a document.

    Args:
        text: the document as JSON.
        faults: the errors of the document. If None, the document is validated.
    """
    document: Any = {}
    if faults is None:
        try:
            document = parse_document(text)
            faults = find_faults(document)
        except InvalidDocument as error:
            faults = list(error.faults)
    if faults:
        return {"faults": faults}
    changes = differences(target.document, document)
    with target.scope():
        columns = layer_comparison.columns(target.subject, document)
        return {
            "columns": columns,
            "rows": layer_comparison.rows(columns),
            "impact": impact_context(target, document) if changes else None,
            "changes": changes,
        }


def impact_context(target: EditTarget, document: dict[str, Any]) -> dict[str, Any]:
    """Return which devices and keys a save would change, or why the save would fail."""
    make_preview: Callable[..., Preview] = preview
    subject: dict[str, Any] = {"subject": target.subject}
    if target.subject.scope == Scope.PLATFORM:
        make_preview, subject = preview_platform, {}
    try:
        result = make_preview(**subject, document=document, limit=MAX_LISTED)
    except DomainError as error:
        return {"error": str(error)}
    return {
        "preview": result,
        "keys": [
            (value_formatting.label(key), count)
            for key, count in sorted(
                result.keys.items(), key=lambda item: value_formatting.sort_key(item[0])
            )
        ],
        "devices": [(device, format_changes(device.changes)) for device in result.devices],
    }


def format_changes(changes: list[Difference]) -> list[tuple[str, str, str]]:
    """Return the label, the old value and the new value of each changed key."""
    return [
        (
            value_formatting.label(item.key),
            value_formatting.format_value(item.key, item.before) if item.was_set else "–",
            value_formatting.format_value(item.key, item.after) if item.is_set else "–",
        )
        for item in changes
    ]


def parse_document(text: str) -> Any:
    """Parse the JSON text of a document.

    Raises:
        InvalidDocument: the text is not JSON.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidDocument([SchemaError("", f"Invalid JSON: {error}.")]) from error
    except RecursionError as error:
        raise InvalidDocument([SchemaError("", "Nested too deeply.")]) from error
