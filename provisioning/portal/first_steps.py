"""The checklist of the first day, on the overview of a tenant that has few devices."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.urls import reverse

from accounts.models import Invitation
from certificates.models import DeviceCertificate
from devices.registry.models import Device, EnrollmentToken
from events.models import Channel
from tenants.models import Membership, User

FEW_DEVICES = 20  # a tenant with more needs no checklist


@dataclass(frozen=True, slots=True)
class Step:
    """A step. Members with the permission see it.

    Attributes:
        is_done: whether the current tenant has done it.
    """

    title: str
    explanation: str
    page: str
    permission: str
    is_done: Callable[[], bool]

    @property
    def url(self) -> str:
        return reverse(f"admin:{self.page}")


STEPS = (
    Step(
        "Create an enrollment token",
        "With it, devices register themselves. It is shown once.",
        "devices_enrollmenttoken_add",
        "devices.add_enrollmenttoken",
        EnrollmentToken.objects.exists,
    ),
    Step(
        "Connect the first device",
        "Let it register with the token, or pair it with the code on its screen.",
        "pair",
        "devices.add_device",
        lambda: Device.objects.exclude(last_seen=None).exists(),
    ),
    Step(
        "Give it a certificate",
        "A device gets one when it sends a certificate signing request. You can also issue one on"
        " its page, on the tab Certificates.",
        "devices_device_changelist",
        "devices.change_device",
        lambda: DeviceCertificate.objects.active().of_current_tenant().exists(),
    ),
    Step(
        "Choose where alerts are sent",
        "By mail, or to a webhook of your own systems.",
        "events_channel_add",
        "events.add_channel",
        Channel.objects.exists,
    ),
    Step(
        "Invite a colleague",
        "So that somebody can confirm what needs two people, and help when you are away.",
        "accounts_invitation_add",
        "accounts.add_invitation",
        lambda: Membership.objects.count() > 1 or Invitation.objects.exists(),
    ),
)


def first_steps(user: User, devices: int) -> dict[str, Any] | None:
    """Return the steps for the overview of the current tenant; None if they are not needed.

    Args:
        devices: how many devices the tenant has.
    """
    if user.sees_every_tenant or devices > FEW_DEVICES:
        return None
    steps = [(step, step.is_done()) for step in STEPS if user.has_perm(step.permission)]
    done = sum(is_done for _, is_done in steps)
    if done == len(steps):
        return None
    return {"steps": steps, "done": done, "total": len(steps)}
