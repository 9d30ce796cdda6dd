from typing import Any

from factory import Sequence, SubFactory
from factory.django import DjangoModelFactory

from tenants.models import Membership, Tenant, User


class TenantFactory(DjangoModelFactory[Tenant]):
    class Meta:
        model = Tenant

    slug = Sequence("tenant-{}".format)
    name = Sequence("Tenant {}".format)


class UserFactory(DjangoModelFactory[User]):
    class Meta:
        model = User

    email = Sequence("user-{}@example.com".format)


class EveryTenantFactory(DjangoModelFactory[Any]):
    """Base factory that creates rows of any tenant, as system code does."""

    class Meta:
        abstract = True

    @classmethod
    def _get_manager(cls, model_class: Any) -> Any:
        return model_class.every_tenant


class MembershipFactory(EveryTenantFactory):
    class Meta:
        model = Membership

    tenant = SubFactory(TenantFactory)
    user = SubFactory(UserFactory)
