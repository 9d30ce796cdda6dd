"""Subscribers to events of accounts."""

from accounts.events import MemberInvited
from accounts.services import invitations
from events.extension_points import on


@on(MemberInvited)
def mail_invitation(event: MemberInvited) -> None:
    invitations.send_mail(event.invitation_id)
