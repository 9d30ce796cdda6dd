"""Compute the SHA-1 and MD5 of packages that were uploaded by an earlier release."""

import logging

from botocore.exceptions import ClientError

from core.uploads import file_hashes
from devices.updates.models import SoftwareUpdate
from devices.updates.services import package_files

logger = logging.getLogger(__name__)


def compute_missing() -> int:
    """Compute the missing hashes of all tenants' packages. Return how many packages got them.

    A package whose file is missing or has changed stays without. The next call tries again.
    """
    count = 0
    packages = SoftwareUpdate.every_tenant.active_with_file().filter(sha1="")
    for package in packages.order_by("pk").iterator():
        hashes = file_hashes()
        try:
            for data in package_files.read_range(package.stored_name, 0, package.size or 0):
                for digest in hashes.values():
                    digest.update(data)
        except (OSError, ClientError):
            logger.warning("The file of package %s cannot be read.", package.pk)
            continue
        if hashes["sha256"].hexdigest() != package.sha256:
            logger.warning("The file of package %s has changed.", package.pk)
            continue
        same = SoftwareUpdate.every_tenant.filter(pk=package.pk, sha256=package.sha256)
        count += same.update(sha1=hashes["sha1"].hexdigest(), md5=hashes["md5"].hexdigest())
    return count
