"""Read typed settings from environment variables.

Every function raises `ImproperlyConfigured` for a missing or invalid value.
"""

import ipaddress
import os
import secrets
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from core.limits import Rate

TRUE = ("true", "1", "on", "yes")
FALSE = ("false", "0", "off", "no")


def text(name: str, default: str | None = None) -> str:
    value = os.environ.get(name, default)
    if value is None:
        raise ImproperlyConfigured(f"{name} is not set.")
    return value


def flag(name: str, *, default: bool = False) -> bool:
    value = os.environ.get(name, str(default)).lower()
    if value not in {*TRUE, *FALSE}:
        raise ImproperlyConfigured(f"{name} must be true or false, not {value!r}.")
    return value in TRUE


def number(name: str, default: int, *, minimum: int = 0) -> int:
    value = os.environ.get(name, str(default))
    try:
        parsed = int(value)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} must be a whole number, not {value!r}.") from error
    if parsed < minimum:
        raise ImproperlyConfigured(f"{name} must be at least {minimum}.")
    return parsed


def choice(name: str, default: str, *choices: str) -> str:
    value = text(name, default)
    if value not in choices:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(choices)}, not {value!r}.")
    return value


def rate(name: str, default: str) -> Rate | None:
    """Return a rate limit such as `120/min`, or None for `off`."""
    try:
        return Rate.parse(text(name, default))
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}") from error


def string_list(name: str, default: str = "") -> list[str]:
    """Return a list of strings. In the variable they are separated by commas or spaces."""
    return [word for word in text(name, default).replace(",", " ").split() if word]


def networks(name: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Return a list of IP addresses and networks in CIDR notation. The default is empty."""
    try:
        return [ipaddress.ip_network(word) for word in string_list(name)]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}") from error


def secret(name: str, default: str | None = None) -> str:
    """Return a secret: the content of the file at `NAME_FILE`, or else the value of `NAME`."""
    path = os.environ.get(f"{name}_FILE")
    if path is None:
        return text(name, default)
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{name}_FILE: {error}") from error


def generated_secret(name: str, path: Path) -> str:
    """Return the secret in the variable `NAME` or in the file that `NAME_FILE` names.

    If neither is set, the first call generates a secret and stores it in `path`.

    Args:
        path: file that keeps the generated secret (mode 0600).
    """
    if name in os.environ or f"{name}_FILE" in os.environ:
        return secret(name)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(secrets.token_urlsafe(50))
        try:
            os.link(temporary, path)  # succeeds only for the first of several processes
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return path.read_text(encoding="utf-8").strip()
