"""The bridge between an MQTT broker and this server (role `mqtt`).

A message of a device is answered as an HTTP request with the same JSON would be.
"""
