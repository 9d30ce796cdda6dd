"""How the operator's commands speak: one line for a person, or one JSON object."""

import json
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from django.core.management.base import BaseCommand, CommandError
from django.core.serializers.json import DjangoJSONEncoder

from core.errors import DomainError
from tenants.context import every_tenant_scope

T = TypeVar("T")


class Refused(CommandError):
    """A refusal that has something to say to a machine as well."""

    def __init__(self, sentence: str, made: Mapping[str, Any]) -> None:
        super().__init__(sentence)
        self.made = made


class OperatorCommand(BaseCommand):
    """A command that ends with 0 done, 1 refused with one sentence, 2 wrong use."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--json",
            action="store_true",
            dest="as_json",
            help="Print one JSON object and nothing else.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        as_json: bool = options.pop("as_json", False)
        try:
            with every_tenant_scope():
                made, text = self.run(**options)
        except Refused as error:
            if as_json:
                self.stdout.write(json.dumps(error.made, cls=DjangoJSONEncoder))
            raise
        except DomainError as error:
            raise CommandError(str(error)) from error
        if as_json:
            text = json.dumps(made, cls=DjangoJSONEncoder)
        self.stdout.write(text)

    def run(self, *args: Any, **options: Any) -> tuple[Mapping[str, Any], str]:
        """Do it; return what was made, and the same as text for a person."""
        raise NotImplementedError

    def with_progress(self, things: Iterable[T], total: int) -> Iterator[T]:
        """Redraw one line on a terminal; keep quiet in a log file."""
        for done, thing in enumerate(things, start=1):
            yield thing
            if self.stderr.isatty():
                end = "\n" if done == total else ""
                self.stderr.write(f"\r{done}/{total}", self.style.NOTICE, ending=end)


def table(pairs: Mapping[str, object]) -> str:
    """Names and values, one pair a line, aligned."""
    width = max(len(name) for name in pairs)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in pairs.items())
