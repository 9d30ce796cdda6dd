from importlib import import_module

from django.apps import AppConfig

from core.encryption import reencryption
from events.extension_points import subscribers


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "Settings"

    def ready(self) -> None:
        import_module("accounts.signals")  # connects the signal receivers
        reencryption.register("accounts.services.second_factor.reencrypt")
        reencryption.register("accounts.services.invitations.reencrypt")
        reencryption.register("accounts.services.single_sign_on.reencrypt")
        for name in (
            "mail_invitation",
            "mail_owners_of_failing_channel",
            "mail_owners_of_disabled_channel",
        ):
            subscribers.register(f"accounts.services.subscribers.{name}")
