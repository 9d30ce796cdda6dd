from django.urls import path

from devices.updates.api import device_views, package_views, rollout_views

PACKAGE = "updates/packages/<uuid:package_id>"
ROLLOUT = "updates/rollouts/<uuid:rollout_id>"

urlpatterns = [
    path("devices/me/update", device_views.MyUpdateView.as_view(), name="my-update"),
    path(
        "devices/me/updates/<uuid:rollout_id>/feedback",
        device_views.MyFeedbackView.as_view(),
        name="my-update-feedback",
    ),
    path("updates/products", package_views.ProductsView.as_view(), name="products"),
    path("updates/products/<uuid:product_id>", package_views.ProductView.as_view(), name="product"),
    path("updates/packages", package_views.PackagesView.as_view(), name="packages"),
    path(PACKAGE, package_views.PackageView.as_view(), name="package"),
    path(f"{PACKAGE}/file", package_views.PackageFileView.as_view(), name="package-file"),
    path(f"{PACKAGE}/release", package_views.ReleaseView.as_view(), name="package-release"),
    path(f"{PACKAGE}/withdraw", package_views.WithdrawView.as_view(), name="package-withdraw"),
    path(
        "updates/signing-keys", package_views.UpdateKeysView.as_view(), name="update-signing-keys"
    ),
    path("updates/policy", rollout_views.PolicyView.as_view(), name="update-policy"),
    path("updates/rollouts", rollout_views.RolloutsView.as_view(), name="rollouts"),
    path(ROLLOUT, rollout_views.RolloutView.as_view(), name="rollout"),
    path(f"{ROLLOUT}/devices", rollout_views.RolloutDevicesView.as_view(), name="rollout-devices"),
    path(f"{ROLLOUT}/failures", rollout_views.FailuresView.as_view(), name="rollout-failures"),
    *(
        path(f"{ROLLOUT}/{name}", view.as_view(), name=f"rollout-{name}")
        for name, view in rollout_views.ACTIONS.items()
    ),
    path(
        "updates/devices/<uuid:device_id>",
        rollout_views.DeviceUpdatesView.as_view(),
        name="updates-of-device",
    ),
]
