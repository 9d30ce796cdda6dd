from django.urls import path

from devices.bulk.api import views

ONE = "devices/bulk/<uuid:operation_id>"

urlpatterns = [
    path("devices/bulk", views.BulkOperationsView.as_view(), name="bulk-operations"),
    path(ONE, views.BulkOperationView.as_view(), name="bulk-operation"),
    path(f"{ONE}/results", views.BulkResultsView.as_view(), name="bulk-results"),
    path(f"{ONE}/cancel", views.CancelBulkOperationView.as_view(), name="bulk-cancel"),
    path(f"{ONE}/undo", views.UndoBulkOperationView.as_view(), name="bulk-undo"),
]
