"""Models of configurations."""

from devices.configurations.models.device_state import (
    ConfigurationDrift,
    EffectiveDocument,
    ReportedConfiguration,
    Round,
)
from devices.configurations.models.layers import (
    AnyLayer,
    ConfigurationVersion,
    DeviceConfiguration,
    Layer,
    PlatformConfiguration,
    PlatformConfigurationVersion,
    SavedVersion,
    Scope,
)

__all__ = [
    "AnyLayer",
    "ConfigurationDrift",
    "ConfigurationVersion",
    "DeviceConfiguration",
    "EffectiveDocument",
    "Layer",
    "PlatformConfiguration",
    "PlatformConfigurationVersion",
    "ReportedConfiguration",
    "Round",
    "SavedVersion",
    "Scope",
]
