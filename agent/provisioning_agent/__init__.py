"""The device side of provisioning: a client library and the command `provisioning-agent`.

The package imports nothing of the server. It knows the device API only, which is described in
docs/devices.md.
"""
