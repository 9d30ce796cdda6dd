#!/bin/sh
# Create the application's role and database. The role is not a superuser, so row-level
# security applies to it. The password is the same mounted secret as the application's.
set -eu
psql --username "$POSTGRES_USER" --set ON_ERROR_STOP=1 \
    --set password="$(cat /run/secrets/database_password)" <<'SQL'
CREATE ROLE provisioning LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD :'password';
CREATE DATABASE provisioning OWNER provisioning;
SQL
