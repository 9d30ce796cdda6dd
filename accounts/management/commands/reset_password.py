from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from accounts.services import password_reset
from accounts.services.members import user_by_email
from core import clock
from tenants.management.operator_command import OperatorCommand, table


class Command(OperatorCommand):
    help = (
        "Set a new password for a user, print it, and sign the user out everywhere. The user must"
        " change the password at the next sign-in."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("email", help="E-mail address of the user.")

    def run(self, email: str, **options: Any) -> tuple[Mapping[str, Any], str]:
        user = user_by_email(email)
        password = password_reset.by_operator(user=user, now=clock.now())
        result = {"email": user.email, "password": password}
        return result, table(result)
