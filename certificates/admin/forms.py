"""Portal form to start a renewal campaign."""

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget

from certificates.models import RenewalCampaign
from certificates.services import renewal_campaigns
from core import clock
from tenants.admin.forms import ServiceForm, text_field
from tenants.models import Tenant


class CampaignForm(ServiceForm):
    """Start a renewal campaign for all devices, or for those of a tenant or of a model."""

    reason = text_field(
        "Reason",
        required=True,
        length=200,
        help_text="Devices receive the reason with their renewal window.",
    )
    per_minute = forms.IntegerField(
        label="Renewals per minute",
        min_value=1,
        max_value=100_000,
        initial=500,
        widget=UnfoldAdminIntegerFieldWidget(),
    )
    tenant: Any = forms.ModelChoiceField(
        queryset=Tenant.objects.all(),
        required=False,
        widget=UnfoldAdminSelectWidget(),
        help_text="If empty, the certificates of all tenants are renewed.",
    )
    model = text_field("Model", help_text="If empty, devices of all models are included.")

    class Meta:
        model = RenewalCampaign
        fields = ("reason", "per_minute", "tenant", "model")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # `ServiceForm` preselects a single tenant; an empty field means all tenants.
        self.fields["tenant"].initial = None

    def call_service(self) -> RenewalCampaign:
        values = self.cleaned_data
        return renewal_campaigns.pull_forward(
            reason=values["reason"],
            per_minute=values["per_minute"],
            tenant=self.chosen_tenant,
            model=values["model"],
            now=clock.now(),
        )
