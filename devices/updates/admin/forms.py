"""The portal's forms of software updates: each calls its service or says its terms."""

from typing import Any

from django import forms
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
)

from devices.updates.admin.fields import choice, number
from devices.updates.models import (
    SoftwareProduct,
    SoftwareUpdate,
    UpdatePolicy,
)
from devices.updates.models.packages import (
    DEFAULT_APPROVAL_ABOVE,
    DEFAULT_CONCURRENT_DOWNLOADS,
)
from devices.updates.services import packages, policies, products
from devices.updates.services.packages import MAX_CHANGELOG_LENGTH
from devices.updates.services.policies import LIMITS
from devices.updates.versions import CHOICES, MAX_VERSION_LENGTH, PEP_440
from tenants.admin.forms import ServiceForm, tenant_field, text
from tenants.models import User
from tenants.roles import visible_to

Reports = SoftwareProduct.Reports
Platform = SoftwareUpdate.Platform


class ProductForm(ServiceForm):
    """Something that is installed on devices and comes in versions."""

    tenant = tenant_field()
    name = text("Name", required=True, help_text="Such as player.")
    versioning = choice("Numbered by", CHOICES, initial=PEP_440)
    reports = choice(
        "Devices report it as",
        Reports.choices,
        initial=Reports.APP_VERSION,
        help_text="By this an update is known to have arrived.",
    )

    class Meta:
        model = SoftwareProduct
        fields = ("name", "versioning", "reports")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance._state.adding:
            return
        for name in ("versioning", "reports"):
            self.fields[name].disabled = True

    def act(self) -> SoftwareProduct:
        said = dict(self.cleaned_data)
        if not self.instance._state.adding:
            return products.rename(
                product=self.instance, name=said["name"], now=timezone.now()
            )
        return products.create(now=timezone.now(), **said)


class PackageForm(ServiceForm):
    """A version of a product; its file comes on the next page."""

    product = forms.ModelChoiceField(
        queryset=SoftwareProduct.objects.none(), widget=UnfoldAdminSelectWidget
    )
    version = text("Version", required=True, length=MAX_VERSION_LENGTH)
    changelog = forms.CharField(
        label="Changelog",
        required=False,
        max_length=MAX_CHANGELOG_LENGTH,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 5}),
    )
    platform = choice("Platform", Platform.choices, initial=Platform.ANDROID)
    target_models = text(
        "For the models",
        length=2000,
        help_text="Several with commas between. Empty: every model.",
    )
    minimum_version = text(
        "From version on",
        length=MAX_VERSION_LENGTH,
        help_text="A device has to have this one at least. Empty: any.",
    )
    user: User

    class Meta:
        model = SoftwareUpdate
        fields: tuple[str, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        product: Any = self.fields["product"]
        product.queryset = visible_to(self.user, SoftwareProduct).order_by("name")
        row = self.instance
        if row._state.adding:
            return
        for name in ("product", "version"):
            self.fields[name].disabled = True
        for name in ("product", "version", "changelog", "platform", "minimum_version"):
            self.initial[name] = getattr(row, name)
        self.initial["target_models"] = ", ".join(row.target_models)

    def tenant_id(self) -> Any:
        return self.cleaned_data["product"].tenant_id

    def act(self) -> SoftwareUpdate:
        said = dict(self.cleaned_data)
        names = said["target_models"].split(",")
        said["target_models"] = [name.strip() for name in names if name.strip()]
        if self.instance._state.adding:
            return packages.create(now=timezone.now(), **said)
        del said["product"], said["version"]
        return packages.change(package=self.instance, **said)


class UpdatePolicyForm(ServiceForm):
    """How updates are rolled out."""

    tenant = tenant_field()
    approval_above = number(
        "A second person above",
        LIMITS["approval_above"],
        DEFAULT_APPROVAL_ABOVE,
        "A rollout to more devices than this waits for somebody else to approve it.",
    )
    concurrent_downloads = number(
        "Downloads at a time",
        LIMITS["concurrent_downloads"],
        DEFAULT_CONCURRENT_DOWNLOADS,
        "Devices that download at once, so that a rollout does not drown the line.",
    )

    class Meta:
        model = UpdatePolicy
        fields = ("approval_above", "concurrent_downloads")

    def act(self) -> UpdatePolicy:
        said = dict(self.cleaned_data)
        return policies.change(now=timezone.now(), **said)
