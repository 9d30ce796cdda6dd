"""Apply Django's validators to the arguments of services."""

from collections.abc import Callable

from django.core.exceptions import ValidationError

from accounts.errors import InvalidTenant


def check(validator: Callable[[str], object], value: str, field: str, sentence: str) -> None:
    """Apply a validator to a value.

    Args:
        field: name of the input field, for the error.
        sentence: message of the error.

    Raises:
        InvalidTenant: the value is invalid.
    """
    try:
        validator(value)
    except ValidationError as error:
        raise InvalidTenant(sentence, field=field) from error
