"""A constraint that prevents references between rows of different tenants."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


class SameTenant(models.BaseConstraint):
    """A foreign key over (tenant, field), so that both rows belong to the same tenant.

    The referenced model needs a unique constraint over (tenant, id).
    """

    violation_error_message = "The referenced object belongs to another tenant."

    def __init__(self, field: str, *, name: str) -> None:
        super().__init__(name=name)
        self.field = field

    def constraint_sql(
        self, model: type[models.Model] | None, editor: BaseDatabaseSchemaEditor | None
    ) -> str:
        assert model is not None
        assert editor is not None
        field = model._meta.get_field(self.field)
        target = field.related_model
        assert isinstance(field, models.ForeignKey)
        assert isinstance(target, type)
        assert issubclass(target, models.Model)
        quote = editor.quote_name
        return (
            f"CONSTRAINT {quote(self.name)} FOREIGN KEY (tenant_id, {quote(field.column)})"
            f" REFERENCES {quote(target._meta.db_table)} (tenant_id, id)"
            " DEFERRABLE INITIALLY DEFERRED"
        )

    def create_sql(
        self, model: type[models.Model] | None, editor: BaseDatabaseSchemaEditor | None
    ) -> str:
        assert model is not None
        assert editor is not None
        # The same migration may create the referenced table, so add this after all tables.
        table = editor.quote_name(model._meta.db_table)
        sql = self.constraint_sql(model, editor).replace("%", "%%")
        return f"ALTER TABLE {table} ADD {sql}"

    def remove_sql(
        self, model: type[models.Model] | None, editor: BaseDatabaseSchemaEditor | None
    ) -> str:
        assert model is not None
        assert editor is not None
        table = editor.quote_name(model._meta.db_table)
        return f"ALTER TABLE {table} DROP CONSTRAINT {editor.quote_name(self.name)}"

    def validate(
        self,
        model: type[models.Model],
        instance: models.Model,
        exclude: Any = None,
        using: str = "default",
    ) -> None:
        target = getattr(instance, self.field, None)
        if target is None or (exclude and self.field in exclude):
            return
        if target.tenant_id != getattr(instance, "tenant_id", None):
            raise ValidationError(self.get_violation_error_message(), code="different_tenant")

    def deconstruct(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        path, _, _ = super().deconstruct()
        return path, (self.field,), {"name": self.name}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SameTenant):
            return NotImplemented
        return (self.name, self.field) == (other.name, other.field)

    __hash__ = None  # type: ignore[assignment] # not hashable, like the base class
