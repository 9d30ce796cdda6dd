from django.urls import path

from devices.configurations.api import device_views, views

urlpatterns = [
    path(
        "devices/me/configuration",
        device_views.MyConfigurationView.as_view(),
        name="my-configuration",
    ),
    path(
        "devices/me/configuration/reported",
        device_views.ReportedView.as_view(),
        name="my-configuration-reported",
    ),
    path(
        "devices/<uuid:device_id>/configuration",
        views.DeviceConfigurationView.as_view(),
        name="device-configuration",
    ),
    path("configurations", views.ConfigurationsView.as_view(), name="configurations"),
    path("configurations/schema", views.SchemaView.as_view(), name="configuration-schema"),
    path("configurations/platform", views.PlatformView.as_view(), name="configuration-platform"),
    path("configurations/order", views.OrderView.as_view(), name="configuration-order"),
    path("configurations/preview", views.PreviewView.as_view(), name="configuration-preview"),
    path(
        "configurations/<uuid:configuration_id>",
        views.ConfigurationView.as_view(),
        name="configuration",
    ),
    path(
        "configurations/<uuid:configuration_id>/differences",
        views.DifferencesView.as_view(),
        name="configuration-differences",
    ),
    path(
        "configurations/<uuid:configuration_id>/versions",
        views.VersionsView.as_view(),
        name="configuration-versions",
    ),
    path(
        "configurations/<uuid:configuration_id>/versions/<int:number>",
        views.VersionView.as_view(),
        name="configuration-version",
    ),
    path(
        "configurations/<uuid:configuration_id>/versions/<int:number>/restore",
        views.RestoreView.as_view(),
        name="configuration-restore",
    ),
]
