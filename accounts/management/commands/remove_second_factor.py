from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django.utils import timezone

from accounts.services import second_factor
from accounts.services.members import person_by_email
from tenants.management.operator_command import OperatorCommand


class Command(OperatorCommand):
    help = "Remove the second factor of somebody who has lost it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("email")

    def run(self, email: str, **options: Any) -> tuple[Mapping[str, Any], str]:
        user = person_by_email(email)
        removed = second_factor.remove(user, now=timezone.now())
        said = "has no second factor now" if removed else "had no second factor"
        return {"email": user.email, "removed": removed}, f"{user.email} {said}."
