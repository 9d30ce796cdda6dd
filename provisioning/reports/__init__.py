"""Reports about the fleet of a tenant."""
