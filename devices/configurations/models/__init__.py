"""The rows of the configurations."""

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
from devices.configurations.models.outcome import (
    ConfigurationDrift,
    EffectiveDocument,
    ReportedConfiguration,
    Round,
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
