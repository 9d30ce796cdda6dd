"""Portal pages of the hawkBit API."""

from devices.hawkbit.admin import gateway_tokens, settings

__all__ = ["gateway_tokens", "settings"]
