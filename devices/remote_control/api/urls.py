from django.urls import path

from devices.remote_control.api import bulk_views, device_views, screenshot_views, views

DEVICE_PREFIX = "remote-control/<uuid:device_id>"

urlpatterns = [
    path("devices/me/commands", device_views.MyCommandsView.as_view(), name="my-commands"),
    path(
        "devices/me/commands/stream", device_views.MyStreamView.as_view(), name="my-command-stream"
    ),
    path(
        "devices/me/commands/<uuid:command_id>/answer",
        device_views.MyAnswerView.as_view(),
        name="my-command-answer",
    ),
    path(
        "devices/me/command-keys", device_views.MyCommandKeysView.as_view(), name="my-command-keys"
    ),
    path(
        "screenshots/<uuid:command_id>", device_views.UploadView.as_view(), name="screenshot-upload"
    ),
    path(f"{DEVICE_PREFIX}/session/start", views.StartView.as_view(), name="remote-control-start"),
    path(f"{DEVICE_PREFIX}/session/end", views.EndView.as_view(), name="remote-control-end"),
    path(f"{DEVICE_PREFIX}/status", views.StatusView.as_view(), name="remote-control-status"),
    path(f"{DEVICE_PREFIX}/command", views.CommandView.as_view(), name="remote-control-command"),
    path(
        f"{DEVICE_PREFIX}/commands",
        views.DeviceCommandsView.as_view(),
        name="remote-control-of-device",
    ),
    path(
        f"{DEVICE_PREFIX}/screenshots",
        screenshot_views.ScreenshotsView.as_view(),
        name="screenshots",
    ),
    path("remote-control/commands", views.CommandsView.as_view(), name="commands"),
    path(
        "remote-control/commands/<uuid:command_id>", views.OneCommandView.as_view(), name="command"
    ),
    path(
        "remote-control/commands/<uuid:command_id>/cancel",
        views.CancelView.as_view(),
        name="command-cancel",
    ),
    path("remote-control/command-types", views.CommandTypesView.as_view(), name="command-types"),
    path("remote-control/policy", views.PolicyView.as_view(), name="control-policy"),
    path(
        "remote-control/signing-keys", views.SigningKeysView.as_view(), name="command-signing-keys"
    ),
    path(
        "remote-control/screenshots/<uuid:screenshot_id>",
        screenshot_views.ScreenshotView.as_view(),
        name="screenshot",
    ),
    path("remote-control/bulk", bulk_views.BulkCommandsView.as_view(), name="bulk-commands"),
    path(
        "remote-control/bulk/<uuid:bulk_id>",
        bulk_views.BulkCommandView.as_view(),
        name="bulk-command",
    ),
    path(
        "remote-control/bulk/<uuid:bulk_id>/confirm",
        bulk_views.ConfirmView.as_view(),
        name="bulk-command-confirm",
    ),
    path(
        "remote-control/bulk/<uuid:bulk_id>/cancel",
        bulk_views.CancelBulkView.as_view(),
        name="bulk-command-cancel",
    ),
]
