"""Django settings, read from the environment. An invalid value stops the process."""

import os
import re
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from core import env
from provisioning import applications, database, logs, schedule, stores
from provisioning.api import settings as api
from provisioning.embedded import endpoints
from provisioning.portal import settings as portal
from provisioning.var import BASE, var_folder

VAR = var_folder()
DEBUG = env.flag("DEBUG")
SECRET_KEY = env.generated_secret("SECRET_KEY", VAR / "secret_key")
SECRET_KEY_FALLBACKS = env.secret("SECRET_KEY_FALLBACKS", "").split()

# --- Device management ---------------------------------------------------------------

DEFAULT_CERT_VALIDITY_DAYS = env.number("DEFAULT_CERT_VALIDITY_DAYS", 365, minimum=1)
RENEWAL_WARNING_DAYS = env.number("RENEWAL_WARNING_DAYS", 30)
AUTO_RENEWAL_DAYS = env.number("AUTO_RENEWAL_DAYS", 7)
DEFAULT_KEY_SIZE = env.number("DEFAULT_KEY_SIZE", 2048, minimum=2048)
RECENT_THRESHOLD_MS = env.number("RECENT_THRESHOLD_MS", 5 * 60 * 1000, minimum=1)
RECENT_THRESHOLD = timedelta(milliseconds=RECENT_THRESHOLD_MS)
CERTIFICATES_ROOT = env.text("CERTIFICATES_ROOT", str(VAR / "certificates"))
CERT_SUBJECT_ORGANIZATION = env.text("CERT_SUBJECT_ORGANIZATION", "BTManagement")
CERT_SUBJECT_COUNTRY = env.text("CERT_SUBJECT_COUNTRY", "IL")
if not (0 < AUTO_RENEWAL_DAYS <= RENEWAL_WARNING_DAYS < DEFAULT_CERT_VALIDITY_DAYS):
    raise ImproperlyConfigured(
        "Required: 0 < AUTO_RENEWAL_DAYS <= RENEWAL_WARNING_DAYS < DEFAULT_CERT_VALIDITY_DAYS."
    )
if not re.fullmatch(r"[A-Z]{2}", CERT_SUBJECT_COUNTRY):
    raise ImproperlyConfigured(
        "CERT_SUBJECT_COUNTRY must be a country code of two capital letters."
    )
if not 0 < len(CERT_SUBJECT_ORGANIZATION) <= 50:
    raise ImproperlyConfigured("CERT_SUBJECT_ORGANIZATION must have 1 to 50 characters.")
CA_VALIDITY_DAYS = env.number("CA_VALIDITY_DAYS", 3650, minimum=1)
CA_KEY_PASSPHRASE = env.secret("CA_KEY_PASSPHRASE", "")
KEY_ENCRYPTION_KEY = env.secret("KEY_ENCRYPTION_KEY", "")
KEY_ENCRYPTION_KEY_FALLBACKS = env.secret("KEY_ENCRYPTION_KEY_FALLBACKS", "").split()
if KEY_ENCRYPTION_KEY and not re.fullmatch(r"\S{32,1000}", KEY_ENCRYPTION_KEY):
    raise ImproperlyConfigured(
        "KEY_ENCRYPTION_KEY must have 32 to 1,000 characters and no white space."
    )
PKCS11_MODULE = env.text("PKCS11_MODULE", "")  # library path, for a CA key in an HSM
PKCS11_PIN = env.secret("PKCS11_PIN", "")
CRL_SHARDS = env.number("CRL_SHARDS", 64, minimum=1)
CRL_VALIDITY_HOURS = env.number("CRL_VALIDITY_HOURS", 168, minimum=4)  # 7 days
CRL_REBUILD_HOURS = env.number("CRL_REBUILD_HOURS", 24, minimum=1)  # interval without revocations
OCSP_VALIDITY_HOURS = env.number("OCSP_VALIDITY_HOURS", 12, minimum=1)
OCSP_RESPONDER_DAYS = env.number("OCSP_RESPONDER_DAYS", 14, minimum=2)
HANDOVER_DAYS = env.number("HANDOVER_DAYS", 7)  # old and new certificate are valid
RENEWALS_PER_MINUTE = env.number("RENEWALS_PER_MINUTE", 3000, minimum=1)
INSPECTION_HOURS = env.number("INSPECTION_HOURS", 24, minimum=1)  # for a full inspection
if CRL_VALIDITY_HOURS < 2 * CRL_REBUILD_HOURS:
    raise ImproperlyConfigured("CRL_VALIDITY_HOURS must be at least twice CRL_REBUILD_HOURS.")
CONNECT_INTERVAL_SECONDS = env.number("CONNECT_INTERVAL_SECONDS", 60, minimum=1)
CLONE_WINDOW_SECONDS = env.number("CLONE_WINDOW_SECONDS", 3600)  # 0: no clone detection
FLEET_SILENCE_PERCENT = env.number("FLEET_SILENCE_PERCENT", 50, minimum=1)
FLEET_SILENCE_MINIMUM = env.number(
    "FLEET_SILENCE_MINIMUM",
    env.number("FLEET_SILENCE_LEAST", 10, minimum=1),  # its name in release 1
    minimum=1,
)  # devices
CONFIGURATION_DRIFT_MINUTES = env.number("CONFIGURATION_DRIFT_MINUTES", 60, minimum=2)
CONFIGURATION_RETENTION_DAYS = env.number("CONFIGURATION_RETENTION_DAYS", 90, minimum=1)
SCREENSHOT_RETENTION_DAYS = env.number("SCREENSHOT_RETENTION_DAYS", 7, minimum=1)
COMMAND_RETENTION_DAYS = env.number("COMMAND_RETENTION_DAYS", 365, minimum=1)
PACKAGE_LIMIT_MB = env.number("PACKAGE_LIMIT_MB", 2048, minimum=1)
UPLOAD_RATE_WINDOW_SECONDS = env.number("UPLOAD_RATE_WINDOW_SECONDS", 20, minimum=1)
PACKAGE_QUOTA_MB = env.number("PACKAGE_QUOTA_MB", 20_000, minimum=1)  # per tenant
METRICS_INTERVAL_SECONDS = env.number("METRICS_INTERVAL_SECONDS", 300, minimum=1)
METRICS_RETENTION_DAYS = env.number("METRICS_RETENTION_DAYS", 90, minimum=1)  # of samples
METRICS_AGGREGATE_RETENTION_DAYS = env.number("METRICS_AGGREGATE_RETENTION_DAYS", 730, minimum=1)
METRICS_CLOCK_LIMIT_SECONDS = env.number("METRICS_CLOCK_LIMIT_SECONDS", 600, minimum=1)
EVENT_RETENTION_DAYS = env.number("EVENT_RETENTION_DAYS", 365, minimum=1)

# --- Addresses, processes, TLS -------------------------------------------------------

MQTT_URL = env.text("MQTT_URL", "")  # mqtts://USER:PASSWORD@HOST:PORT of a broker
MQTT_CLIENT_ID = env.text("MQTT_CLIENT_ID", "provisioning-bridge")
MQTT_CA_FILE = env.text("MQTT_CA_FILE", "")  # verifies the broker; by default the system's CAs
MQTT_CERTIFICATE_FILE = env.text("MQTT_CERTIFICATE_FILE", "")  # of the bridge, and its key
MQTT_KEY_FILE = env.text("MQTT_KEY_FILE", "")
MQTT_METRICS_PORT = env.number("MQTT_METRICS_PORT", 0)  # for Prometheus; 0: none

PORT = env.number("PORT", 8000, minimum=1)
PUBLIC_URL = env.text("PUBLIC_URL", f"http://localhost:{PORT}").rstrip("/")
_public = urlsplit(PUBLIC_URL)
if _public.scheme not in {"http", "https"} or not _public.hostname:
    raise ImproperlyConfigured(
        "PUBLIC_URL must be an HTTP URL, for example https://devices.example.com."
    )
_plain_http = f"http://{_public.hostname if _public.scheme == 'https' else _public.netloc}"
PKI_URL = env.text("PKI_URL", _plain_http).rstrip("/")  # written into certificates
_pki = urlsplit(PKI_URL)
if _pki.scheme not in {"http", "https"} or not _pki.hostname:
    raise ImproperlyConfigured("PKI_URL must be an HTTP URL, for example http://pki.example.com.")
_loopback = ["localhost", "127.0.0.1", "[::1]"]
HOST = env.text("HOST", "127.0.0.1" if _public.hostname in _loopback else "0.0.0.0")  # nosec B104 # the network of a container is private
ALLOWED_HOSTS = [*_loopback, _public.hostname, _pki.hostname, *env.string_list("ALLOWED_HOSTS")]
WEB_WORKERS = env.number("WEB_WORKERS", 2, minimum=1)  # processes
WEB_THREADS = env.number("WEB_THREADS", 4, minimum=1)  # per process
# Seconds until a request is answered with 503; more than DATABASE_STATEMENT_TIMEOUT, and less
# than the time for which a proxy waits.
REQUEST_TIMEOUT = env.number("REQUEST_TIMEOUT", 28, minimum=1)
STREAM_PORT = env.number("STREAM_PORT", PORT + 1000 if PORT < 60_000 else PORT - 1000, minimum=1)
STREAM_WORKERS = env.number("STREAM_WORKERS", 2, minimum=1)  # processes
# A proxy serves the web and the push server at one address. Without a proxy, the push
# server has its own port.
_stream = f"{_public.scheme}://{_public.hostname}:{STREAM_PORT}"
STREAM_URL = env.text("STREAM_URL", _stream if _public.port == PORT else PUBLIC_URL).rstrip("/")
CHANNEL_SENDERS = env.number("CHANNEL_SENDERS", 1, minimum=1)
WORKER_PROCESSES = env.number("WORKER_PROCESSES", 2, minimum=1)
CSRF_TRUSTED_ORIGINS = [f"{_public.scheme}://{_public.netloc}"]
TRUSTED_PROXIES = env.networks("TRUSTED_PROXIES")
CLIENT_CERTIFICATE_PROXIES = env.networks("CLIENT_CERTIFICATE_PROXIES")  # terminate mTLS

_https = _public.scheme == "https"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
SECURE_SSL_REDIRECT = _https
SECURE_REDIRECT_EXEMPT = [
    r"^health/",
    r"^metrics$",
    # CA certificates and revocation data must not depend on TLS, because a client needs them
    # to verify a certificate.
    r"^certificates/(ca\.|trusted\.|crl/|authorities/|ocsp)",
]
SECURE_HSTS_SECONDS = 31_536_000 if _https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = _https
SECURE_HSTS_PRELOAD = _https
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _https
if _https:  # `__Host-`: other hosts of the same domain cannot set these cookies
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Host-session", "__Host-csrf"
CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 12 * 3600  # seconds; a working day
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
X_FRAME_OPTIONS = "DENY"

# --- Applications, middleware, portal ------------------------------------------------

INSTALLED_APPS = applications.INSTALLED_APPS
MIDDLEWARE = applications.MIDDLEWARE
APPEND_SLASH = False  # the API's paths have no trailing slash
ROOT_URLCONF = "provisioning.urls"
WSGI_APPLICATION = "provisioning.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
AUTH_USER_MODEL = "tenants.User"
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "tenants.roles.RoleBackend"]
AXES_FAILURE_LIMIT = env.number("SIGN_IN_FAILURES", 5, minimum=1)
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_CLIENT_IP_CALLABLE = "tenants.middleware.client_address"
AXES_USERNAME_FORM_FIELD = "username"
AXES_USERNAME_CALLABLE = "accounts.signals.submitted_email"
AXES_LOCKOUT_CALLABLE = "provisioning.portal.sign_in.locked_out"
AXES_DISABLE_ACCESS_LOG = True  # sign-ins are in the audit log
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS: list[dict[str, Any]] = [
    {"NAME": f"django.contrib.auth.password_validation.{name}", "OPTIONS": options}
    for name, options in {
        "UserAttributeSimilarityValidator": {},
        "MinimumLengthValidator": {"min_length": 12},
        "CommonPasswordValidator": {},
        "NumericPasswordValidator": {},
    }.items()
]
PASSWORD_RESET_TIMEOUT = 3600  # seconds
LANGUAGE_CODE = "en"
FORMAT_MODULE_PATH = ["provisioning.formats"]
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"  # outside the addresses of tenants
WHITENOISE_USE_FINDERS = True  # serve from the packages, without `collectstatic`
WHITENOISE_MAX_AGE = 86_400
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_621_440  # bytes
UNFOLD = portal.UNFOLD

# A server of map tiles, such as https://tiles.example.com/{z}/{x}/{y}.png. Without one, the map
# shows the bundled coastlines and borders, and needs no other network.
MAP_TILES_URL = env.text("MAP_TILES_URL", "")
MAP_TILES_ATTRIBUTION = env.text("MAP_TILES_ATTRIBUTION", "")

# --- Package files -------------------------------------------------------------------

PACKAGES_ROOT = stores.PACKAGES_ROOT
UPLOADS_ROOT = env.text("UPLOADS_ROOT", str(VAR / "uploads"))  # incomplete uploads
PACKAGES_ACCEL = env.text("PACKAGES_ACCEL", "").rstrip("/")  # nginx `internal` location
STORAGES = stores.STORAGES

# --- Webhooks and mail ---------------------------------------------------------------

# Private networks to which webhooks may be sent.
WEBHOOK_ALLOWED_NETWORKS = env.networks("WEBHOOK_ALLOWED_NETWORKS")
EMAIL_HOST = env.text("EMAIL_HOST", "")  # if empty, no mail is sent
EMAIL_PORT = env.number("EMAIL_PORT", 587, minimum=1)
EMAIL_HOST_USER = env.text("EMAIL_HOST_USER", "")
EMAIL_HOST_PASSWORD = env.secret("EMAIL_HOST_PASSWORD", "")
EMAIL_USE_SSL = env.flag("EMAIL_USE_SSL")  # TLS from the first byte, as on port 465
EMAIL_USE_TLS = env.flag("EMAIL_USE_TLS", default=not EMAIL_USE_SSL)  # STARTTLS
EMAIL_TIMEOUT = 10  # seconds
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", f"provisioning@{_public.hostname}")

# --- Rate limits ---------------------------------------------------------------------

KEY_PREFIX = env.text("CELERY_KEY_PREFIX", "provisioning:")
RATES = {
    name: env.rate(f"RATE_{name.upper()}", rate)
    for name, rate in {
        "export": "4/hour",  # of everything that a tenant owns
        "device": "240/min",  # requests of one device
        "controlled_device": "1200/min",  # command requests of a device in a session
        "member": "1200/min",  # requests with one API token
        "samples": "12000/min",  # of one device; a device that was offline sends many at once
        "tenant_samples": "600000/min",  # of all devices of one tenant
        "sample_bytes": "20000000/min",  # of one device, decompressed
        "tenant_sample_bytes": "900000000/min",
        "enrollment": "60000/min",  # with one enrollment token (a whole site)
        "gateway": "60000/min",  # requests with one hawkBit gateway token
        "tenant": "120000/min",  # requests of all callers of one tenant
        "portal": "1200/min",  # pages requested by one user
        "address": "300/min",  # requests without a credential, per address
        "channel_test": "20/min",  # test messages of one tenant
        "verifier": "60000/min",  # revocation lists and OCSP, per address
        "ocsp_nonce": "1200/min",  # OCSP responses that are signed for one request, per address
        "refused": "600/min",  # responses with 401 or 403, per address
        "sign_in": "30/5min",  # sign-in attempts in the portal, per address
        "second_factor": "8/5min",  # codes tried by one user
        "invitation": "60/h",  # of one tenant
        "password_reset": "10/h",  # requests from one address
        "same_unreadable_fields": "1/h",  # stored for one device; it repeats them constantly
        "unreadable_fields": "30/h",  # stored for one device
        "pairing": "60/h",  # pairings started from one address
        "pairing_member": "10/10min",  # pairing codes entered by one member
        "pairing_address": "30/10min",  # pairing codes entered from one address
    }.items()
}

# --- PostgreSQL, Redis, Celery -------------------------------------------------------

_embedded = (
    endpoints.load_or_create(VAR).environment if endpoints.missing_servers(os.environ) else {}
)
DATABASE_URL = env.secret("DATABASE_URL", _embedded.get("DATABASE_URL"))
REDIS_URL = env.secret("REDIS_URL", _embedded.get("REDIS_URL"))
# Queues, notifications and counters have one server, or up to three. Only the queues must be kept.
REDIS_URLS = {
    "REDIS_URL": REDIS_URL,
    "REDIS_BROKER_URL": env.secret("REDIS_BROKER_URL", REDIS_URL),
    "REDIS_PUSH_URL": env.secret("REDIS_PUSH_URL", REDIS_URL),
    "REDIS_COUNTERS_URL": env.secret("REDIS_COUNTERS_URL", REDIS_URL),
}
REDIS_BROKER_URL = REDIS_URLS["REDIS_BROKER_URL"]
REDIS_PUSH_URL = REDIS_URLS["REDIS_PUSH_URL"]
REDIS_COUNTERS_URL = REDIS_URLS["REDIS_COUNTERS_URL"]
# Set to `off` behind a pooler that assigns a connection per transaction, such as PgBouncer.
PREPARED_STATEMENTS = env.flag("PREPARED_STATEMENTS", default=True)
# Answer the most frequent requests of devices on the event loop (see `provisioning.fast_path`).
FAST_PATH = env.flag("FAST_PATH", default=PREPARED_STATEMENTS)
PROCESS_ROLE = env.choice("PROCESS_ROLE", "command", *database.TIMEOUTS)  # set by `serve`, `up`
_timeouts = database.TIMEOUTS[PROCESS_ROLE]
DATABASE_TIMEOUTS = database.Timeouts(
    statement=env.number("DATABASE_STATEMENT_TIMEOUT", _timeouts.statement),
    lock=env.number("DATABASE_LOCK_TIMEOUT", _timeouts.lock),
    idle_in_transaction=_timeouts.idle_in_transaction,
)
DATABASES = {
    "default": database.connection_settings(
        DATABASE_URL,
        role=PROCESS_ROLE,
        timeouts=DATABASE_TIMEOUTS,
        prepared_statements=PREPARED_STATEMENTS,
    )
}
if _replica_url := env.secret("DATABASE_REPLICA_URL", ""):
    DATABASES["replica"] = database.connection_settings(
        _replica_url,
        role=PROCESS_ROLE,
        timeouts=DATABASE_TIMEOUTS,
        prepared_statements=PREPARED_STATEMENTS,
    ) | {"TEST": {"MIRROR": "default"}}
for _name, _url in REDIS_URLS.items():
    if urlsplit(_url).scheme not in {"redis", "rediss"}:
        raise ImproperlyConfigured(
            f"{_name} must be a Redis URL, for example redis://:password@host:6379/0."
        )
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CELERY_BROKER_URL = REDIS_BROKER_URL
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 300,  # seconds until a killed worker's task is redelivered
    "global_keyprefix": KEY_PREFIX,
    "socket_connect_timeout": 2,
    "socket_timeout": 10,
    "retry_on_timeout": True,
}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_TIME_LIMIT = 240
CELERY_TASK_SOFT_TIME_LIMIT = 180
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TASK_DEFAULT_QUEUE = "prompt"  # short tasks; slow tasks are in `bulk`
CELERY_TASK_ROUTES = schedule.ROUTES
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULER = "provisioning.beat:Scheduler"
CELERY_BEAT_SCHEDULE = schedule.BEAT

# --- API -----------------------------------------------------------------------------

REST_FRAMEWORK = api.REST_FRAMEWORK
DRF_STANDARDIZED_ERRORS = api.DRF_STANDARDIZED_ERRORS
SPECTACULAR_SETTINGS = api.SPECTACULAR_SETTINGS

# --- Logs and metrics ----------------------------------------------------------------

METRICS_TOKEN = env.secret("METRICS_TOKEN", "")
LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LOG_FORMAT = env.choice("LOG_FORMAT", "json", "json", "text")
LOGGING = logs.logging_config(level=LOG_LEVEL, formatter=LOG_FORMAT)
