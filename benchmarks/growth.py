"""How costs grow with the number of tenants and of devices."""

from benchmarks import growth_by_devices, growth_by_tenants


def main() -> None:
    growth_by_tenants.main()
    growth_by_devices.main()
