"""Mail the owners of a tenant about notification channels that do not work."""

from django.conf import settings
from django.core.mail import EmailMessage
from django.urls import reverse

from tenants.context import current_tenant_id
from tenants.models import Membership, Role, Tenant


def mail_owners(*, channel_id: str, channel_name: str, sentence: str) -> None:
    """Mail the owners of the current tenant. Without a mail server, do nothing."""
    owners = Membership.objects.filter(role=Role.OWNER, user__is_active=True)
    addresses = list(owners.values_list("user__email", flat=True))
    if not addresses or not settings.EMAIL_HOST:
        return
    tenant_id = current_tenant_id()
    assert tenant_id is not None  # events of channels have a tenant
    tenant = Tenant.objects.get(pk=tenant_id)
    page = reverse("admin:events_channel_change", args=[channel_id])
    name = " ".join(channel_name.split())
    EmailMessage(
        subject=f"[provisioning] The channel {name} does not work"[:200],
        body=f"{sentence}\n\n{settings.PUBLIC_URL}/t/{tenant.slug}{page}\n\nYou receive this"
        f" mail because you are an owner of {tenant.name}.",
        to=addresses,
    ).send()
