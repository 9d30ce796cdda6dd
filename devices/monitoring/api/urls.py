from django.urls import path

from devices.monitoring.api import alert_views, views

urlpatterns = [
    path("devices/stats/overview", views.OverviewView.as_view(), name="devices-overview"),
    path(
        "devices/<uuid:device_id>/monitoring",
        views.DeviceMonitoringView.as_view(),
        name="device-monitoring",
    ),
    path("monitoring/rules", views.RulesView.as_view(), name="rules"),
    path("monitoring/rules/<uuid:rule_id>", views.RuleView.as_view(), name="rule"),
    path(
        "monitoring/rules/<uuid:rule_id>/back-test",
        views.BackTestView.as_view(),
        name="rule-back-test",
    ),
    path(
        "monitoring/rules/<uuid:rule_id>/overrides",
        views.OverridesView.as_view(),
        name="rule-overrides",
    ),
    path(
        "monitoring/rules/<uuid:rule_id>/overrides/<uuid:override_id>",
        views.OverrideView.as_view(),
        name="rule-override",
    ),
    path("monitoring/alerts", alert_views.AlertsView.as_view(), name="alerts"),
    path("monitoring/alerts/<uuid:alert_id>", alert_views.AlertView.as_view(), name="alert"),
    path(
        "monitoring/alerts/<uuid:alert_id>/acknowledge",
        alert_views.AcknowledgeView.as_view(),
        name="alert-acknowledge",
    ),
    path(
        "monitoring/alerts/<uuid:alert_id>/assign",
        alert_views.AssignView.as_view(),
        name="alert-assign",
    ),
    path(
        "monitoring/alerts/<uuid:alert_id>/comments",
        alert_views.CommentsView.as_view(),
        name="alert-comments",
    ),
    path(
        "monitoring/alerts/<uuid:alert_id>/close",
        alert_views.CloseView.as_view(),
        name="alert-close",
    ),
]
