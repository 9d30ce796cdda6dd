from django.urls import path

from devices.preferences.api import views

urlpatterns = [
    path("preferences", views.PreferencesView.as_view(), name="preferences"),
    path("preferences/<str:key>", views.PreferenceView.as_view(), name="preference"),
    path("devices/me/settings", views.MySettingsView.as_view(), name="my-settings"),
    path(
        "devices/<uuid:device_id>/settings",
        views.DeviceSettingsView.as_view(),
        name="device-settings",
    ),
]
