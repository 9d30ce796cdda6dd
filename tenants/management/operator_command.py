"""Base class of operator commands, with text or JSON output."""

import json
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from django.core.management.base import BaseCommand, CommandError
from django.core.serializers.json import DjangoJSONEncoder

from core.errors import DomainError
from tenants.context import every_tenant_scope

T = TypeVar("T")


class CommandFailed(CommandError):
    """A failed command that also has a result for the JSON output."""

    def __init__(self, message: str, result: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.result = result


class OperatorCommand(BaseCommand):
    """Base class of operator commands. Commands can access the rows of all tenants.

    Exit status: 0 on success, 1 on failure with a one-line message, 2 for wrong usage.
    """

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--json",
            action="store_true",
            dest="as_json",
            help="Print the result as one JSON object.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        as_json = options.pop("as_json", False)
        try:
            with every_tenant_scope():
                result, text = self.run(**options)
        except CommandFailed as error:
            if as_json:
                self.stdout.write(json.dumps(error.result, cls=DjangoJSONEncoder))
            raise
        except DomainError as error:
            raise CommandError(str(error)) from error
        if as_json:
            text = json.dumps(result, cls=DjangoJSONEncoder)
        self.stdout.write(text)

    def run(self, *args: Any, **options: Any) -> tuple[Mapping[str, Any], str]:
        """Run the command. Return its result twice: as data for JSON output, and as text.

        Raises:
            DomainError: the command fails.
            CommandFailed: the command fails and has a result.
        """
        raise NotImplementedError

    def with_progress(self, items: Iterable[T], total: int) -> Iterator[T]:
        """Yield the items and show their count on stderr, if stderr is a terminal."""
        for count, item in enumerate(items, start=1):
            yield item
            if self.stderr.isatty():
                end = "\n" if count == total else ""
                self.stderr.write(f"\r{count}/{total}", self.style.NOTICE, ending=end)


def table(pairs: Mapping[str, object]) -> str:
    """Format names and values as two aligned columns."""
    width = max(len(name) for name in pairs)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in pairs.items())
