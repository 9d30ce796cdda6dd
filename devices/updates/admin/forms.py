"""Portal forms of products, packages and update policies."""

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from core import clock
from devices.updates.admin.fields import choice_field, integer_field
from devices.updates.models import SoftwareProduct, SoftwareUpdate, UpdatePolicy
from devices.updates.models.packages import DEFAULT_APPROVAL_ABOVE, DEFAULT_CONCURRENT_DOWNLOADS
from devices.updates.services import packages, policies, products
from devices.updates.services.packages import MAX_CHANGELOG_LENGTH
from devices.updates.services.policies import LIMITS
from devices.updates.versions import CHOICES, MAX_VERSION_LENGTH, PEP_440
from tenants.admin.forms import ServiceForm, tenant_field, text_field
from tenants.models import User
from tenants.roles import visible_to

Reports = SoftwareProduct.Reports
Platform = SoftwareUpdate.Platform


class ProductForm(ServiceForm):
    """Create or rename a product."""

    tenant = tenant_field()
    name = text_field("Name", required=True, help_text="For example: player.")
    versioning = choice_field(
        "Versioning scheme",
        CHOICES,
        initial=PEP_440,
        help_text="How versions are compared. Cannot be changed later.",
    )
    reports = choice_field(
        "Reported version",
        Reports.choices,
        initial=Reports.APP_VERSION,
        help_text="Which of the versions that a device reports is the version of this product."
        " An update is installed when the device reports the version of the update.",
    )

    file_format = choice_field(
        "Files",
        SoftwareProduct.FileFormat.choices,
        initial=SoftwareProduct.FileFormat.ANY,
        help_text="Android packages are checked: signature, application id and version code.",
    )

    class Meta:
        model = SoftwareProduct
        fields = ("name", "versioning", "reports", "file_format")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance._state.adding:
            return
        for name in ("versioning", "reports", "file_format"):
            self.fields[name].disabled = True

    def call_service(self) -> SoftwareProduct:
        values = dict(self.cleaned_data)
        if not self.instance._state.adding:
            return products.rename(product=self.instance, name=values["name"], now=clock.now())
        return products.create(now=clock.now(), **values)


class PackageForm(ServiceForm):
    """Create or change the draft of a package. The file is uploaded on the next page."""

    product = forms.ModelChoiceField(
        queryset=SoftwareProduct.objects.none(), widget=UnfoldAdminSelectWidget
    )
    version = text_field("Version", required=True, length=MAX_VERSION_LENGTH)
    changelog = forms.CharField(
        label="Changelog",
        required=False,
        max_length=MAX_CHANGELOG_LENGTH,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 5}),
    )
    platform = choice_field("Platform", Platform.choices, initial=Platform.ANDROID)
    target_models = text_field(
        "Device models",
        length=2000,
        help_text="Separate models with commas, for example: X96, H96. Leave empty for all models.",
    )
    minimum_version = text_field(
        "Minimum version",
        length=MAX_VERSION_LENGTH,
        help_text="Oldest version from which a device can be updated. Leave empty for any version.",
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

    def call_service(self) -> SoftwareUpdate:
        values = dict(self.cleaned_data)
        names = values["target_models"].split(",")
        values["target_models"] = [name.strip() for name in names if name.strip()]
        if self.instance._state.adding:
            return packages.create(now=clock.now(), **values)
        del values["product"], values["version"]
        return packages.change(package=self.instance, **values)


class UpdatePolicyForm(ServiceForm):
    """Create or change a tenant's update policy."""

    tenant = tenant_field()
    approval_above = integer_field(
        "Approval threshold (devices)",
        LIMITS["approval_above"],
        DEFAULT_APPROVAL_ABOVE,
        "A rollout to more devices than this needs the approval of a second member.",
    )
    concurrent_downloads = integer_field(
        "Concurrent downloads (devices)",
        LIMITS["concurrent_downloads"],
        DEFAULT_CONCURRENT_DOWNLOADS,
        "How many devices may download at the same time. The limit protects the network.",
    )

    class Meta:
        model = UpdatePolicy
        fields = ("approval_above", "concurrent_downloads")

    def call_service(self) -> UpdatePolicy:
        return policies.change(now=clock.now(), **self.cleaned_data)
