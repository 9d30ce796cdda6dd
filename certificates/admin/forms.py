"""The portal's form of the authority: it calls its service and shows what it refuses."""

from typing import Any

from django import forms
from django.utils import timezone
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget

from certificates.models import RenewalCampaign
from certificates.services import renewal_campaigns
from tenants.admin.forms import ServiceForm, text
from tenants.models import Tenant


class CampaignForm(ServiceForm):
    """Renewals pulled forward, for all that is in use or a part of it."""

    reason = text("Reason", required=True, length=200, help_text="Devices are told it.")
    per_minute = forms.IntegerField(
        label="Renewals a minute",
        min_value=1,
        max_value=100_000,
        initial=500,
        widget=UnfoldAdminIntegerFieldWidget(),
    )
    tenant: Any = forms.ModelChoiceField(
        queryset=Tenant.objects.all(),
        required=False,
        widget=UnfoldAdminSelectWidget(),
        help_text="Empty: every tenant.",
    )
    model = text("Model", help_text="Empty: every model.")

    class Meta:
        model = RenewalCampaign
        fields = ("reason", "per_minute", "tenant", "model")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields[
            "tenant"
        ].initial = None  # a whole fleet is chosen by saying nothing

    def act(self) -> RenewalCampaign:
        said = self.cleaned_data
        return renewal_campaigns.pull_forward(
            reason=said["reason"],
            per_minute=said["per_minute"],
            tenant=said["tenant"],
            model=said["model"],
            now=timezone.now(),
        )
