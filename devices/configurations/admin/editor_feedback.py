"""What the editor shows of a text: what is wrong with it, or what it would do."""

import json
from collections.abc import Callable
from typing import Any

from core.errors import DomainError
from devices.configurations import value_formatting
from devices.configurations.admin.edit_target import Edited
from devices.configurations.document_validation import Fault, faults
from devices.configurations.documents import differences
from devices.configurations.errors import InvalidDocument
from devices.configurations.models import Scope
from devices.configurations.services import layer_comparison
from devices.configurations.services.preview import Preview, preview, preview_platform

NAMED = 20  # devices in the preview


def previewed(
    edited: Edited, text: str, wrong: list[Fault] | None = None
) -> dict[str, Any]:
    """What the preview shows of a text: what is wrong with it, or what it would do."""
    document: Any = {}
    if wrong is None:
        try:
            document = parsed(text)
            wrong = faults(document)
        except InvalidDocument as error:
            wrong = list(error.faults)
    if wrong:
        return {"faults": wrong}
    changes = differences(edited.document, document)
    with edited.scope():
        shown = layer_comparison.columns(edited.subject, document)
        return {
            "columns": shown,
            "rows": layer_comparison.rows(shown),
            "told": told(edited, document) if changes else None,
            "changes": changes,
        }


def told(edited: Edited, document: dict[str, Any]) -> dict[str, Any]:
    make: Callable[..., Preview] = preview
    subject: dict[str, Any] = {"subject": edited.subject}
    if edited.subject.scope == Scope.PLATFORM:
        make, subject = preview_platform, {}
    try:
        told = make(**subject, document=document, limit=NAMED)
    except DomainError as error:
        return {"refused": str(error)}
    return {
        "preview": told,
        "keys": [
            (value_formatting.label(key), count)
            for key, count in sorted(
                told.keys.items(), key=lambda item: value_formatting.place(item[0])
            )
        ],
        "devices": [(one, in_words(one.changes)) for one in told.devices],
    }


def in_words(changes: Any) -> list[tuple[str, str, str]]:
    return [
        (
            value_formatting.label(item.key),
            value_formatting.value(item.key, item.before) if item.was_said else "–",
            value_formatting.value(item.key, item.after) if item.is_said else "–",
        )
        for item in changes
    ]


def parsed(text: str) -> Any:
    """
    Raises:
        InvalidDocument: it is no JSON.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidDocument([Fault("", f"This is no JSON: {error}.")]) from error
    except RecursionError as error:
        raise InvalidDocument([Fault("", "Nested too deep.")]) from error
