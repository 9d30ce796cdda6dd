from django.urls import path

from devices.hawkbit.api import settings_views, views

CONTROLLER = "<str:tenant>/controller/v1/<str:controller_id>"
ARTIFACTS = f"{CONTROLLER}/softwaremodules/<str:module_id>/artifacts"

urlpatterns = [
    path("hawkbit/settings", settings_views.SettingsView.as_view(), name="hawkbit-settings"),
    path(CONTROLLER, views.BasePollView.as_view(), name="hawkbit-poll"),
    path(f"{CONTROLLER}/configData", views.ConfigDataView.as_view(), name="hawkbit-config-data"),
    path(
        f"{CONTROLLER}/deploymentBase/<int:action_id>",
        views.DeploymentView.as_view(),
        name="hawkbit-deployment",
    ),
    path(
        f"{CONTROLLER}/deploymentBase/<int:action_id>/feedback",
        views.FeedbackView.as_view(),
        name="hawkbit-feedback",
    ),
    path(
        f"{CONTROLLER}/installedBase/<int:action_id>",
        views.DeploymentView.as_view(),
        name="hawkbit-installed",
    ),
    path(
        f"{CONTROLLER}/cancelAction/<int:action_id>",
        views.CancelView.as_view(),
        name="hawkbit-cancel",
    ),
    path(
        f"{CONTROLLER}/cancelAction/<int:action_id>/feedback",
        views.CancelFeedbackView.as_view(),
        name="hawkbit-cancel-feedback",
    ),
    path(
        f"{CONTROLLER}/confirmationBase",
        views.ConfirmationView.as_view(),
        name="hawkbit-confirmation",
    ),
    path(ARTIFACTS, views.ArtifactsView.as_view(), name="hawkbit-artifacts"),
    path(
        f"{ARTIFACTS}/<str:file_name>.MD5SUM",
        views.ArtifactHashView.as_view(),
        name="hawkbit-artifact-hash",
    ),
    path(f"{ARTIFACTS}/<str:file_name>", views.ArtifactView.as_view(), name="hawkbit-artifact"),
]
