"""Apply Django's validators to the arguments of services."""

from collections.abc import Callable

from django.core.exceptions import ValidationError

from accounts.errors import InvalidTenant


def check(
    validator: Callable[[str], object], value: str, field: str, sentence: str
) -> None:
    """
    Raises:
        InvalidTenant: the validator does not accept the value; says `sentence`.
    """
    try:
        validator(value)
    except ValidationError as error:
        raise InvalidTenant(sentence, field=field) from error
