from django.urls import path

from devices.registry.api import (
    attribute_views,
    conflict_views,
    pairing_views,
    site_views,
    unreadable_field_views,
    views,
)

urlpatterns = [
    path("devices/connect", views.ConnectView.as_view(), name="device-connect"),
    path("devices", views.DevicesView.as_view(), name="devices"),
    path("devices/me", views.MeView.as_view(), name="device-me"),
    path("devices/<uuid:device_id>", views.DeviceView.as_view(), name="device"),
    path("devices/<uuid:device_id>/token", views.DeviceTokenView.as_view(), name="device-token"),
    path(
        "devices/<uuid:device_id>/quarantine",
        views.QuarantineView.as_view(),
        name="device-quarantine",
    ),
    path(
        "devices/<uuid:device_id>/replace", views.ReplacementView.as_view(), name="device-replace"
    ),
    path("devices/<uuid:device_id>/release", views.ReleaseView.as_view(), name="device-release"),
    path(
        "devices/<uuid:device_id>/reregistration",
        views.ReregistrationView.as_view(),
        name="device-reregistration",
    ),
    path(
        "devices/unreadable-fields",
        unreadable_field_views.UnreadableFieldsView.as_view(),
        name="unreadable-fields",
    ),
    path(
        "devices/<uuid:device_id>/unreadable-fields",
        unreadable_field_views.UnreadableFieldsOfDeviceView.as_view(),
        name="device-unreadable-fields",
    ),
    path("devices/conflicts", conflict_views.ConflictsView.as_view(), name="device-conflicts"),
    path(
        "devices/conflicts/<uuid:conflict_id>/decision",
        conflict_views.ConflictDecisionView.as_view(),
        name="device-conflict-decision",
    ),
    path("device-attributes", attribute_views.AttributesView.as_view(), name="attributes"),
    path("device-attributes/<slug:key>", attribute_views.AttributeView.as_view(), name="attribute"),
    path("sites", site_views.SitesView.as_view(), name="sites"),
    path("sites/<uuid:site_id>", site_views.SiteView.as_view(), name="site"),
    path("devices/pair", pairing_views.PairView.as_view(), name="pair-start"),
    path("devices/pair/token", pairing_views.PairTokenView.as_view(), name="pair-token"),
]
