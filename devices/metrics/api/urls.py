from django.urls import path

from devices.metrics.api import views

urlpatterns = [
    path("devices/metrics", views.MetricsView.as_view(), name="metrics-ingest"),
    path("devices/metrics/aggregate", views.AggregateView.as_view(), name="metrics-aggregate"),
    path(
        "devices/<uuid:device_id>/metrics", views.DeviceMetricsView.as_view(), name="device-metrics"
    ),
]
