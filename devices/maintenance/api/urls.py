from django.urls import path

from devices.maintenance.api import views

urlpatterns = [
    path("maintenance-windows", views.WindowsView.as_view(), name="maintenance-windows"),
    path(
        "maintenance-windows/<uuid:window_id>",
        views.WindowView.as_view(),
        name="maintenance-window",
    ),
]
