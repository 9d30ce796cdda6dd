"""Tables of samples, of the latest sample of each device, and of roll-ups."""

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q

from devices.metrics.measures import MEASURES
from devices.registry.models import Device
from tenants.constraints import SameTenant
from tenants.context import current_tenant_id
from tenants.models import Tenant, TenantOwned


class AbstractSample(TenantOwned):
    """The columns of a sample; see `measures.FIELDS` for units and bounds."""

    recorded_at = models.DateTimeField()
    received_at = models.DateTimeField()
    device_time = models.DateTimeField(null=True)  # original time, if the clock was wrong
    cpu_usage = models.FloatField(null=True)
    ram_used_mb = models.IntegerField(null=True)
    ram_total_mb = models.IntegerField(null=True)
    ram_usage = models.FloatField(null=True)
    storage_used_mb = models.IntegerField(null=True)
    storage_total_mb = models.IntegerField(null=True)
    storage_usage = models.FloatField(null=True)
    battery_level = models.FloatField(null=True)
    is_charging = models.BooleanField(null=True)
    temperature = models.FloatField(null=True)
    # In both columns, NULL means "not reported".
    network_type = models.CharField(max_length=32, null=True)  # noqa: DJ001
    ssid = models.CharField(max_length=64, null=True)  # noqa: DJ001
    signal_strength = models.FloatField(null=True)
    latency = models.FloatField(null=True)
    is_connected = models.SmallIntegerField(null=True)
    running_apps = models.JSONField(null=True)
    screen_is_on = models.BooleanField(null=True)
    screen_brightness = models.SmallIntegerField(null=True)
    extra = models.JSONField(null=True, encoder=DjangoJSONEncoder)  # unknown fields

    class Meta(TenantOwned.Meta):
        abstract = True


class DeviceMetrics(AbstractSample):
    """A sample: one wide row in a table partitioned by day.

    The table has no foreign key constraints. Checking them for every sample of a million
    devices is expensive, and the referenced rows are never deleted.
    """

    pk = models.CompositePrimaryKey("device_id", "recorded_at")
    tenant = models.ForeignKey(
        Tenant,
        on_delete=models.DO_NOTHING,
        default=current_tenant_id,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    device_id = models.UUIDField()

    class Meta(AbstractSample.Meta):
        abstract = False
        verbose_name_plural = "device metrics"
        indexes = (
            models.Index(
                fields=("device_id", "recorded_at"),
                condition=Q(device_time__isnull=False),
                name="sample_of_a_wrong_clock",
            ),
        )

    def __str__(self) -> str:
        return f"{self.device_id} at {self.recorded_at:%Y-%m-%d %H:%M:%S}"


class LatestMetrics(AbstractSample):
    """The newest sample of a device."""

    device = models.OneToOneField(
        Device, on_delete=models.CASCADE, primary_key=True, related_name="metrics"
    )

    class Meta(AbstractSample.Meta):
        abstract = False
        verbose_name_plural = "latest metrics"
        constraints = (SameTenant("device", name="latest_of_its_tenants_device"),)
        indexes = (models.Index(fields=("tenant",), name="latest_of_tenant"),)

    def __str__(self) -> str:
        return f"latest of {self.device_id}"


class RollUp(TenantOwned):
    """The aggregates of a device's samples in an hour or a day.

    Count, sum, minimum (`least`) and maximum (`most`) of each measure are updated with
    every stored sample. The 95th percentile is computed from the samples after the hour
    or day is over, and again after late samples. `p95_due_at` is the time of the next
    computation, or NULL if the percentile is up to date. While it is not NULL, readers
    compute the percentile themselves.
    """

    pk = models.CompositePrimaryKey("device_id", "starts_at")
    tenant = models.ForeignKey(
        Tenant,
        on_delete=models.DO_NOTHING,
        default=current_tenant_id,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    device_id = models.UUIDField()
    starts_at = models.DateTimeField()
    app_version = models.CharField(max_length=64)  # the version that sent the newest sample
    newest_at = models.DateTimeField()
    samples = models.IntegerField()
    p95_due_at = models.DateTimeField(null=True)

    class Meta(TenantOwned.Meta):
        abstract = True
        indexes = (
            models.Index(fields=("tenant", "starts_at"), name="%(class)s_of_tenant"),
            models.Index(
                fields=("p95_due_at",),
                condition=Q(p95_due_at__isnull=False),
                name="%(class)s_p95_due",
            ),
        )

    def __str__(self) -> str:
        return f"{self.device_id} from {self.starts_at:%Y-%m-%d %H:%M}"


for _measure in MEASURES:
    RollUp.add_to_class(f"{_measure.name}_count", models.IntegerField(default=0))
    for _aggregate in ("sum", "least", "most", "p95"):
        RollUp.add_to_class(f"{_measure.name}_{_aggregate}", models.FloatField(null=True))


class HourlyMetrics(RollUp):
    """The roll-up of one device and hour, in a table partitioned by month."""

    class Meta(RollUp.Meta):
        abstract = False
        verbose_name_plural = "hourly metrics"


class DailyMetrics(RollUp):
    """The roll-up of one device and day (UTC), in a table partitioned by month."""

    class Meta(RollUp.Meta):
        abstract = False
        verbose_name_plural = "daily metrics"


ROLL_UPS: dict[str, type[RollUp]] = {"hour": HourlyMetrics, "day": DailyMetrics}
