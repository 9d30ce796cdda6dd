from django.urls import path

from certificates.api import views

urlpatterns = [
    path(
        "devices/auto-register", views.AutoRegisterView.as_view(), name="auto-register"
    ),
    path(
        "devices/me/certificate",
        views.MyCertificateView.as_view(),
        name="my-certificate",
    ),
    path(
        "devices/<uuid:device_id>/certificates",
        views.DeviceCertificatesView.as_view(),
        name="device-certificates",
    ),
    path("certificates/ca.pem", views.AuthorityView.as_view(), name="ca"),
    path("certificates/validate", views.ValidateView.as_view(), name="validate"),
    path(
        "certificates/<str:serial_number>",
        views.CertificateView.as_view(),
        name="certificate",
    ),
    path(
        "certificates/<str:serial_number>/renew",
        views.RenewView.as_view(),
        name="certificate-renew",
    ),
    path(
        "certificates/<str:serial_number>/revoke",
        views.RevokeView.as_view(),
        name="certificate-revoke",
    ),
]
