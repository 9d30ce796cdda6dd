"""Settings of Django REST framework, its error handling and drf-spectacular."""

from typing import Any

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "devices.registry.api.authentication.DeviceAuthentication",
        "tenants.api.authentication.MemberAuthentication",
        "devices.registry.api.authentication.EnrollmentAuthentication",
        "certificates.api.authentication.ClientCertificateAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["tenants.api.permissions.IsMember"],
    "DEFAULT_THROTTLE_CLASSES": ["tenants.api.throttles.CallerThrottle"],
    "DEFAULT_PARSER_CLASSES": ["core.rest.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PAGINATION_CLASS": "core.rest.pagination.KeysetPagination",
    "DEFAULT_SCHEMA_CLASS": "provisioning.api.schema.DocumentedSchema",
    "EXCEPTION_HANDLER": "drf_standardized_errors.handler.exception_handler",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
DRF_STANDARDIZED_ERRORS: dict[str, Any] = {
    "EXCEPTION_HANDLER_CLASS": "provisioning.api.errors.ExceptionHandler",
    "EXCEPTION_FORMATTER_CLASS": "provisioning.api.errors.ExceptionFormatter",
    "ENABLE_IN_DEBUG_FOR_UNHANDLED_EXCEPTIONS": True,
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "provisioning",
    "DESCRIPTION": (
        "Manage field devices: registration, certificates, configuration, monitoring,"
        " remote control and software updates. The events that webhooks receive are described"
        " at [/docs/events](/docs/events), for programs at [/asyncapi](/asyncapi).\n\n"
        "Devices may use a client certificate (mTLS) instead of a `dev_` token."
    ),
    "VERSION": "1.3.0",  # see docs/api-changelog.md
    "SERVERS": [{"url": "/", "description": "The server that serves this document."}],
    "OAS_VERSION": "3.0.3",  # most generators of clients do not know all of 3.1
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "provisioning.api.simplification.simplify",
        "provisioning.api.operations.name_operations",
        "provisioning.api.operations.require_bodies",
        "provisioning.api.responses.add_responses",
        "provisioning.api.examples.add_examples",
    ],
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "DeviceStatusEnum": "devices.registry.models.Device.Status",
        "CertificateStatusEnum": "certificates.models.DeviceCertificate.Status",
        "SeverityEnum": "events.severity.Severity",
        "AlertKindEnum": "devices.monitoring.models.Alert.Kind",
        "AlertStatusEnum": "devices.monitoring.models.Alert.Status",
        "ChannelKindEnum": "events.models.Channel.Kind",
        "RuleKindEnum": "devices.monitoring.models.MonitoringRule.Kind",
        "ConfigurationScopeEnum": "devices.configurations.models.Scope",
        "ConfigurationSubjectEnum": "devices.configurations.api.serializers.SCOPES",
        "CommandTypeEnum": "devices.remote_control.command_types.CHOICES",
        "CommandStatusEnum": "devices.remote_control.models.Status",
        "CommandAnswerEnum": "devices.remote_control.api.serializers.ANSWERS",
        "EndOfSessionEnum": "devices.remote_control.models.RemoteControlSession.End",
        "BulkStateEnum": "devices.remote_control.models.BulkCommand.State",
        "OutcomeEnum": "devices.configurations.models.ReportedConfiguration.Outcome",
        "BulkOperationStateEnum": "devices.bulk.models.BulkOperation.State",
        "BulkResultOutcomeEnum": "devices.bulk.models.BulkResult.Outcome",
        "VersioningEnum": "devices.updates.versions.CHOICES",
        "ProductReportsEnum": "devices.updates.models.SoftwareProduct.Reports",
        "PackageStateEnum": "devices.updates.models.SoftwareUpdate.State",
        "PackagePlatformEnum": "devices.updates.models.SoftwareUpdate.Platform",
        "RolloutStateEnum": "devices.updates.models.Deployment.State",
        "WaveStateEnum": "devices.updates.models.DeploymentWave.State",
        "UpdateStatusEnum": "devices.updates.models.Status",
        "UpdateFeedbackEnum": "devices.updates.api.device_serializers.FEEDBACK",
        "WeekdayEnum": "core.rest.weekly_times.WEEKDAYS",
        "AttributeKindEnum": "devices.registry.models.AttributeDefinition.Kind",
        "RuleScopeEnum": "devices.monitoring.models.MonitoringRule.Scope",
        "RecurrenceEnum": "devices.maintenance.models.MaintenanceWindow.Recurrence",
        "PreferenceKindEnum": "devices.preferences.models.Kind",
        "PreferenceSourceEnum": "devices.preferences.api.serializers.SOURCES_OF_DEFAULTS",
        "SettingSourceEnum": "devices.preferences.api.serializers.SOURCES",
        "MeasureEnum": "devices.metrics.measures.CHOICES",
        "RevocationReasonEnum": "certificates.models.DeviceCertificate.Reason",
    },
}
