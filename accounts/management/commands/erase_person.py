from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from accounts.services import erasure
from accounts.services.members import user_by_email
from core import clock
from tenants.management.operator_command import OperatorCommand, table


class Command(OperatorCommand):
    help = (
        "Erase the personal data of one person. The audit log keeps the address until its"
        " retention ends. This cannot be undone."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("email", help="E-mail address of the person.")

    def run(self, email: str, **options: Any) -> tuple[Mapping[str, Any], str]:
        changed = erasure.erase(user=user_by_email(email), now=clock.now())
        result = {"erased": 1, **changed}
        return result, table(result)
