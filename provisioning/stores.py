"""Storage backends for package files: the local disk, or an S3-compatible store."""

from typing import Any

from core import env
from provisioning.var import var_folder

CONNECT_SECONDS, READ_SECONDS = 3, 10

PACKAGES_ROOT = env.text("PACKAGES_ROOT", str(var_folder() / "packages"))
PACKAGES_S3_BUCKET = env.text("PACKAGES_S3_BUCKET", "")  # if empty, the local disk is used
_packages: dict[str, Any] = {
    "BACKEND": "django.core.files.storage.FileSystemStorage",
    "OPTIONS": {"location": PACKAGES_ROOT},
}
if PACKAGES_S3_BUCKET:
    # Imported only if used, because they are large.
    from boto3.s3.transfer import TransferConfig
    from botocore.config import Config

    _packages = {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": PACKAGES_S3_BUCKET,
            "endpoint_url": env.text("PACKAGES_S3_ENDPOINT", "") or None,
            "region_name": env.text("PACKAGES_S3_REGION", "") or None,
            "access_key": env.secret("PACKAGES_S3_ACCESS_KEY", "") or None,
            "secret_key": env.secret("PACKAGES_S3_SECRET_KEY", "") or None,
            "location": env.text("PACKAGES_S3_PREFIX", "").strip("/"),
            "default_acl": None,
            "file_overwrite": False,
            # A store that does not answer must not hold a thread of the web server for long.
            "client_config": Config(
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                retries={"total_max_attempts": 2},
                s3={"addressing_style": "path"},
            ),
            # Limits memory use: only one part of a file is in memory at a time.
            "transfer_config": TransferConfig(use_threads=False),
        },
    }
STORAGES: dict[str, Any] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "packages": _packages,
}
