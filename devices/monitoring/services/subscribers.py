"""What of the rooms below the monitoring hears."""

from devices.monitoring.services import incidents, rule_templates
from devices.registry.events import FleetSilence
from events.extension_points import on
from tenants.context import tenant_scope
from tenants.hooks import Happening


@on(FleetSilence)
def fleet_silence_opens_an_incident(fact: FleetSilence) -> None:
    incidents.open_for(fact)


def new_tenants_begin_with_the_templates(happening: Happening) -> None:
    if happening.name == "tenant.created":
        with tenant_scope(happening.tenant_id):
            rule_templates.load(now=happening.at)
