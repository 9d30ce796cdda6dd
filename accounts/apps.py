from importlib import import_module

from django.apps import AppConfig

from core.encryption import when_reencrypting


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        import_module("accounts.signals").hear_of_sign_ins()
        when_reencrypting(
            "second_factors", import_module("accounts.services.second_factor").reencrypt
        )
