"""Map roles to Django permissions, for the portal and the API."""

from functools import cache
from typing import TypeVar

from django.apps import apps
from django.contrib.auth.backends import ModelBackend
from django.db import models

from tenants.context import current_tenant_id, every_tenant_scope
from tenants.models import Membership, Role, Tenant, TenantOwned, User

M = TypeVar("M", bound=models.Model)
MAX_MEMBERSHIPS = 100  # of one user, which a page loads


def role_in_current_tenant(user: User) -> Role | None:
    """Return the user's role in the current tenant. It is cached on the user object."""
    tenant_id = current_tenant_id()
    # An attribute is the same one on `request.user`, which is a proxy of the user.
    roles: dict[object, Role | None] | None = getattr(user, "_roles", None)
    if roles is None:
        roles = {}
        setattr(user, "_roles", roles)  # noqa: B010 # no field of the model
    if tenant_id not in roles:
        membership = membership_in_current_tenant(user)
        roles[tenant_id] = Role(membership.role) if membership else None
    return roles[tenant_id]


def membership_in_current_tenant(user: User) -> Membership | None:
    """Return the user's membership in the current tenant, or None."""
    known: list[Membership] | None = getattr(user, "_memberships", None)
    if known is None or len(known) == MAX_MEMBERSHIPS:
        return Membership.objects.filter(user_id=user.pk).first()
    tenant_id = current_tenant_id()
    return next((row for row in known if row.tenant_id == tenant_id), None)


def memberships_of(user: User) -> list[Membership]:
    """Return up to 100 memberships of a user, in all tenants. They are kept on the user object."""
    known: list[Membership] | None = getattr(user, "_memberships", None)
    if known is None:
        with every_tenant_scope():
            memberships = Membership.every_tenant.filter(user_id=user.pk)
            known = list(memberships.select_related("tenant")[:MAX_MEMBERSHIPS])
        setattr(user, "_memberships", known)  # noqa: B010 # no field of the model
    return known


class RoleBackend(ModelBackend):
    """Authentication backend that grants members the permissions of their role.

    Each model defines the role needed to view it (`view_role`) and to change it
    (`manage_role`).
    """

    def has_perm(self, user_obj: object, perm: str, obj: object = None) -> bool:
        if not isinstance(user_obj, User) or not user_obj.is_active:
            return False
        role = role_in_current_tenant(user_obj)
        required = role_needed(perm)
        return role is not None and required is not None and role.includes(required)

    def has_module_perms(self, user_obj: object, app_label: str) -> bool:
        return any(
            self.has_perm(user_obj, f"{app_label}.view_{model._meta.model_name}")
            for model in apps.get_app_config(app_label).get_models()
        )


def limit_memberships(user: User, tenant_id: str) -> None:
    """Let a user object have its membership in one tenant only."""
    known = [row for row in memberships_of(user) if str(row.tenant_id) == tenant_id]
    setattr(user, "_memberships", known)  # noqa: B010 # no field of the model


def role_needed(permission: str) -> Role | None:
    """Return the lowest role that has a permission such as `devices.change_device`.

    Models list permissions other than add, change, delete and view in `grants`.
    """
    app_label, _, codename = permission.partition(".")
    if (role := _grants(app_label).get(codename)) is not None:
        return role
    action, _, model_name = codename.partition("_")
    try:
        model = apps.get_model(app_label, model_name)
    except LookupError:
        return None
    attribute = "view_role" if action == "view" else "manage_role"
    return getattr(model, attribute, None)


@cache
def _grants(app_label: str) -> dict[str, Role]:
    if app_label not in apps.app_configs:
        return {}
    grants: dict[str, Role] = {}
    for model in apps.get_app_config(app_label).get_models():
        grants |= getattr(model, "grants", {})
    return grants


def visible_to(user: User, model: type[M]) -> models.QuerySet[M]:
    """Return the rows of a model that a user may see.

    Members see the rows of the current tenant, and superusers see all rows.
    """
    if model is Tenant and not user.sees_every_tenant:
        return model._default_manager.filter(pk=current_tenant_id())
    if issubclass(model, TenantOwned) or hasattr(model, "every_tenant"):
        all_rows = model.every_tenant.all()  # type: ignore[attr-defined]
        return all_rows if user.sees_every_tenant else model._default_manager.all()
    return model._default_manager.all()
