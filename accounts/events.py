"""Events about tenants, members, tokens and sign-ins."""

from events.domain_events import DomainEvent


class TenantCreated(DomainEvent):
    """A tenant was created."""

    name = "tenant.created"

    slug: str


class TenantUpdated(DomainEvent):
    """A tenant's name or its settings changed."""

    name = "tenant.updated"


class TenantSuspendedEvent(DomainEvent):
    """A tenant was suspended: its devices and members are refused."""

    name = "tenant.suspended"

    reason: str


class TenantDeletionRequested(DomainEvent):
    """A tenant will be deleted at `due_at`, unless this is taken back."""

    name = "tenant.deletion_requested"

    due_at: str


class TenantDeletionCancelled(DomainEvent):
    """A tenant will not be deleted."""

    name = "tenant.deletion_cancelled"


class PersonErased(DomainEvent):
    """The personal data of a member was erased; `user` is the number of the account."""

    name = "member.erased"

    user: int


class TenantExported(DomainEvent):
    """Somebody has downloaded everything that a tenant owns."""

    name = "tenant.exported"


class TenantResumed(DomainEvent):
    """The devices and members of a tenant are accepted again."""

    name = "tenant.resumed"


class SingleSignOnChanged(DomainEvent):
    """The settings of a tenant's single sign-on were changed; `is_enabled` after the change."""

    name = "tenant.single_sign_on_changed"

    issuer: str
    is_enabled: bool


class MemberEvent(DomainEvent):
    email: str


class MemberAdded(MemberEvent):
    """A user became a member of a tenant."""

    name = "member.added"

    role: str


class MemberInvited(MemberEvent):
    """A person was invited to a tenant."""

    name = "member.invited"

    role: str
    invitation_id: str


class InvitationEnded(MemberEvent):
    """An invitation was declined or withdrawn."""

    name = "member.invitation_ended"

    how: str


class MemberRoleChanged(MemberEvent):
    """The role of a member was changed."""

    name = "member.role_changed"


class MemberRemoved(MemberEvent):
    """A user is no longer a member of a tenant."""

    name = "member.removed"


class TokenEvent(DomainEvent):
    token_name: str
    hint: str


class ApiTokenIssued(TokenEvent):
    """A member has a new API token. The event's caller is who issued it."""

    name = "api_token.issued"

    email: str  # of the member


class ApiTokenRevoked(TokenEvent):
    """An API token was revoked."""

    name = "api_token.revoked"

    email: str  # of the member


class EnrollmentTokenIssued(TokenEvent):
    """A tenant has a new enrollment token."""

    name = "enrollment_token.issued"


class EnrollmentTokenRevoked(TokenEvent):
    """An enrollment token was revoked."""

    name = "enrollment_token.revoked"


class GatewayTokenIssued(TokenEvent):
    """A tenant has a new token for hawkBit gateways."""

    name = "gateway_token.issued"


class GatewayTokenRevoked(TokenEvent):
    """A token for hawkBit gateways was revoked."""

    name = "gateway_token.revoked"


class PersonEvent(DomainEvent):
    """An event of one user, which belongs to no tenant."""

    has_tenant = False

    email: str


class SignedIn(PersonEvent):
    """A user signed in to the portal."""

    name = "person.signed_in"


class SignInFailed(PersonEvent):
    """A sign-in failed because of a wrong password or an unknown address."""

    name = "person.sign_in_failed"


class PasswordReset(PersonEvent):
    """A user has a new password, set by a mailed link or by the operator."""

    name = "person.password_reset"


class SignedOutEverywhere(PersonEvent):
    """All sessions of a user were signed out, except perhaps the one that asked for it."""

    name = "person.signed_out_everywhere"


class SecondFactorAdded(PersonEvent):
    """A user confirmed a second factor."""

    name = "person.second_factor_added"


class RecoveryCodeUsed(PersonEvent):
    """A user signed in with a recovery code. The code cannot be used again."""

    name = "person.recovery_code_used"


class SecondFactorRemoved(PersonEvent):
    """A user's second factor was removed."""

    name = "person.second_factor_removed"
