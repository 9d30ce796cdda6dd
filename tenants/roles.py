"""What a role may do, as Django's permissions: the one answer for portal and API."""

from functools import cache
from typing import TypeVar

from django.apps import apps
from django.contrib.auth.backends import ModelBackend
from django.db import models

from tenants.context import current_tenant_id
from tenants.models import Membership, Role, Tenant, TenantOwned, User

M = TypeVar("M", bound=models.Model)


def role_in_current_tenant(user: User) -> Role | None:
    """The member's role where they are now; asked of the database once per request."""
    tenant_id = current_tenant_id()
    known: dict[object, Role | None] = user.__dict__.setdefault("_roles", {})
    if tenant_id not in known:
        membership = Membership.objects.filter(user_id=user.pk).first()
        known[tenant_id] = Role(membership.role) if membership else None
    return known[tenant_id]


class RoleBackend(ModelBackend):
    """Grants a member the permissions of their role over the models of a tenant.

    Each model says which role may see it and which may manage it.
    """

    def has_perm(self, user_obj: object, perm: str, obj: object = None) -> bool:
        if not isinstance(user_obj, User) or not user_obj.is_active:
            return False
        role = role_in_current_tenant(user_obj)
        needed = role_needed(perm)
        return role is not None and needed is not None and role.includes(needed)

    def has_module_perms(self, user_obj: object, app_label: str) -> bool:
        return any(
            self.has_perm(user_obj, f"{app_label}.view_{model._meta.model_name}")
            for model in apps.get_app_config(app_label).get_models()
        )


def role_needed(permission: str) -> Role | None:
    """The least role that has a permission such as `devices.change_device`.

    What is no adding, changing, deleting or viewing of a model's rows, a model grants
    by the permission's own name.
    """
    app_label, _, codename = permission.partition(".")
    if (granted := _granted(app_label).get(codename)) is not None:
        return granted
    action, _, model_name = codename.partition("_")
    try:
        model = apps.get_model(app_label, model_name)
    except LookupError:
        return None
    attribute = "seen_by" if action == "view" else "managed_by"
    return getattr(model, attribute, None)


@cache
def _granted(app_label: str) -> dict[str, Role]:
    if app_label not in apps.app_configs:
        return {}
    granted: dict[str, Role] = {}
    for model in apps.get_app_config(app_label).get_models():
        granted |= getattr(model, "grants", {})
    return granted


def visible_to(user: User, model: type[M]) -> models.QuerySet[M]:
    """A model's rows for the portal: the tenant's, or for a superuser everybody's."""
    if model is Tenant and not user.is_superuser:
        return model._default_manager.filter(pk=current_tenant_id())
    if issubclass(model, TenantOwned) or hasattr(model, "every_tenant"):
        every: models.QuerySet[M] = model.every_tenant.all()  # type: ignore[attr-defined]
        return every if user.is_superuser else model._default_manager.all()
    return model._default_manager.all()
