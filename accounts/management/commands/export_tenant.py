from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accounts.services import tenant_archive
from core import clock
from tenants.context import tenant_scope
from tenants.management.operator_command import OperatorCommand, table
from tenants.queries import tenant_by_slug


class Command(OperatorCommand):
    help = "Write everything that a tenant owns to one ZIP archive: rows as JSON lines, and files."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("slug", help="Slug of the tenant.")
        parser.add_argument("file", type=Path, help="The archive to write.")
        parser.add_argument(
            "--samples", action="store_true", help="Include single samples, which may be many."
        )

    def run(
        self, slug: str, file: Path, samples: bool, **options: Any
    ) -> tuple[Mapping[str, Any], str]:
        tenant = tenant_by_slug(slug)
        with tenant_scope(tenant.pk), file.open("xb") as target:
            file.chmod(0o600)
            for piece in tenant_archive.chunks(tenant, with_samples=samples, now=clock.now()):
                target.write(piece)
        result = {"tenant": tenant.slug, "file": str(file), "bytes": file.stat().st_size}
        return result, table(result)
