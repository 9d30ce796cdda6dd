"""Compute the SHA-1 and MD5 of packages that were uploaded by an earlier release."""

import logging
from collections.abc import Callable

from botocore.exceptions import BotoCoreError, ClientError
from django.db import transaction

from core.locks import try_transaction_lock
from core.uploads import file_hashes
from devices.updates.models import SoftwareUpdate
from devices.updates.services import package_files

CHANGED = "changed"  # stored instead of the MD5 of a file that is not the uploaded one
logger = logging.getLogger(__name__)


def compute_missing(*, time_is_up: Callable[[], bool] = lambda: False) -> int:
    """Compute the missing hashes of all tenants' packages. Return how many packages got them.

    Files are read by one caller at a time. A package whose file cannot be read stays without; the
    next call tries again. A package whose file has changed stays without for good.

    Args:
        time_is_up: asked before each package. The next call continues.
    """
    count = 0
    lacking = SoftwareUpdate.every_tenant.active_with_file().filter(sha1="", md5="")
    for pk in list(lacking.order_by("pk").values_list("pk", flat=True)):
        if time_is_up():
            break
        with transaction.atomic():
            if not try_transaction_lock("hashes of packages"):
                break
            count += _compute(SoftwareUpdate.every_tenant.get(pk=pk))
    return count


def _compute(package: SoftwareUpdate) -> int:
    hashes = file_hashes()
    try:
        for data in package_files.read_range(package.stored_name, 0, package.size or 0):
            for digest in hashes.values():
                digest.update(data)
    except (OSError, ClientError, BotoCoreError):
        logger.warning("The file of package %s cannot be read.", package.pk)
        return 0
    same = SoftwareUpdate.every_tenant.filter(pk=package.pk, sha256=package.sha256)
    if hashes["sha256"].hexdigest() != package.sha256:
        logger.warning("The file of package %s has changed.", package.pk)
        same.update(md5=CHANGED)
        return 0
    return same.update(sha1=hashes["sha1"].hexdigest(), md5=hashes["md5"].hexdigest())
