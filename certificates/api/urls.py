from django.urls import path

from certificates.api import device_views, est, public_views, views

SERIAL = "certificates/<str:serial_number>"

urlpatterns = [
    path("devices/auto-register", views.AutoRegisterView.as_view(), name="auto-register"),
    path("devices/me/certificate", device_views.MyCertificateView.as_view(), name="my-certificate"),
    path(
        "devices/me/certificate/acknowledge",
        device_views.AcknowledgeView.as_view(),
        name="my-certificate-acknowledge",
    ),
    path(
        "devices/me/certificate/bundle",
        device_views.BundleView.as_view(),
        name="my-certificate-bundle",
    ),
    path(
        "devices/<uuid:device_id>/certificates",
        views.DeviceCertificatesView.as_view(),
        name="device-certificates",
    ),
    path("certificates/ca.pem", public_views.AuthorityView.as_view(), name="ca"),
    path("certificates/trusted.pem", public_views.TrustedView.as_view(), name="trusted"),
    path(
        "certificates/trusted.crl.pem", public_views.TrustedListsView.as_view(), name="trusted-crl"
    ),
    path("certificates/ca.crl", public_views.CompleteListView.as_view(), name="crl"),
    path("certificates/ca.crl.pem", public_views.CompleteListPemView.as_view(), name="crl-pem"),
    path("certificates/crl/<int:shard>.crl", public_views.ShardView.as_view(), name="shard"),
    path(
        "certificates/authorities/<str:key_identifier>.cer",
        public_views.AuthorityCertificateView.as_view(),
        name="authority-certificate",
    ),
    path(
        "certificates/authorities/<str:key_identifier>.crl",
        public_views.ListOfAuthorityView.as_view(),
        name="authority-crl",
    ),
    path("certificates/ocsp", public_views.OcspView.as_view(), name="ocsp"),
    path(
        "certificates/ocsp/<path:ocsp_request>", public_views.OcspGetView.as_view(), name="ocsp-get"
    ),
    path("certificates/validate", views.ValidateView.as_view(), name="validate"),
    path(SERIAL, views.CertificateView.as_view(), name="certificate"),
    path(f"{SERIAL}/renew", views.RenewView.as_view(), name="certificate-renew"),
    path(f"{SERIAL}/revoke", views.RevokeView.as_view(), name="certificate-revoke"),
    path(
        f"{SERIAL}/renewal-info", views.RenewalInfoView.as_view(), name="certificate-renewal-info"
    ),
    path(".well-known/est/cacerts", est.CaCertificatesView.as_view(), name="est-cas"),
    path(".well-known/est/csrattrs", est.CsrAttributesView.as_view(), name="est-attributes"),
    path(".well-known/est/simpleenroll", est.EnrollView.as_view(), name="est-enroll"),
    path(".well-known/est/simplereenroll", est.ReenrollView.as_view(), name="est-reenroll"),
]
