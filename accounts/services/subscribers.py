"""Subscribers to events of accounts."""

from accounts.events import MemberInvited
from accounts.services import channel_mails, invitations
from events.events import ChannelDisabled, ChannelFailing
from events.extension_points import on


@on(MemberInvited)
def mail_invitation(event: MemberInvited) -> None:
    invitations.send_mail(event.invitation_id)


@on(ChannelFailing)
def mail_owners_of_failing_channel(event: ChannelFailing) -> None:
    channel_mails.mail_owners(
        channel_id=event.channel_id,
        channel_name=event.channel_name,
        sentence=f"No message to the channel {event.channel_name} has succeeded for a day. The"
        f" last answer was: {event.reason or 'none'}",
    )


@on(ChannelDisabled)
def mail_owners_of_disabled_channel(event: ChannelDisabled) -> None:
    channel_mails.mail_owners(
        channel_id=event.channel_id,
        channel_name=event.channel_name,
        sentence=f"The channel {event.channel_name} was switched off. {event.reason} Enter"
        " another address, or delete the channel.",
    )
