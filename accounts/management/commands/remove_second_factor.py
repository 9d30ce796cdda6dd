from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from accounts.services import second_factor
from accounts.services.members import user_by_email
from core import clock
from tenants.management.operator_command import OperatorCommand


class Command(OperatorCommand):
    help = "Remove the second factor of a user who has lost it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("email", help="E-mail address of the user.")

    def run(self, email: str, **options: Any) -> tuple[Mapping[str, Any], str]:
        user = user_by_email(email)
        removed = second_factor.remove(user, now=clock.now())
        if removed:
            text = f"Removed the second factor of {user.email}."
        else:
            text = f"{user.email} has no second factor."
        return {"email": user.email, "removed": removed}, text
