"""Subscribers to domain events of lower packages."""

from accounts.events import TenantCreated
from devices.monitoring.services import incidents, rule_templates
from devices.registry.events import FleetSilence
from events.extension_points import on


@on(FleetSilence)
def open_incident_for_fleet_silence(event: FleetSilence) -> None:
    incidents.open_for_event(event)


@on(TenantCreated)
def give_templates_to_new_tenant(event: TenantCreated) -> None:
    rule_templates.load(now=event.at)
