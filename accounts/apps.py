from importlib import import_module

from django.apps import AppConfig

from core.encryption import reencryption


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        import_module("accounts.signals")  # connects the signal receivers
        reencryption.register("accounts.services.second_factor.reencrypt")
