"""Admin classes for Celery beat schedules. Unused third-party models are hidden."""

from django.contrib import admin
from django.contrib.auth.models import Group
from django_celery_beat.admin import PeriodicTaskAdmin
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from tenants.admin.declared_filters import DeclaredFiltersAdmin

for model in (
    Group,
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
):
    if admin.site.is_registered(model):
        admin.site.unregister(model)


@admin.register(PeriodicTask)
class ScheduleAdmin(DeclaredFiltersAdmin, PeriodicTaskAdmin):
    """Periodic tasks: schedule, enabled flag, last run."""

    list_display = ("name", "enabled", "scheduler", "last_run_at", "total_run_count")
    list_filter = ("enabled",)
    date_hierarchy = None


@admin.register(IntervalSchedule)
class IntervalAdmin(DeclaredFiltersAdmin):
    list_display = ("every", "period")


@admin.register(CrontabSchedule)
class CrontabAdmin(DeclaredFiltersAdmin):
    list_display = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")
