#!/bin/sh
# The application's role: it owns its database and is no superuser, so that row
# security holds it. The password is mounted, as the application's own is.
set -eu
psql --username "$POSTGRES_USER" --set ON_ERROR_STOP=1 \
    --set password="$(cat /run/secrets/database_password)" <<'SQL'
CREATE ROLE provisioning LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD :'password';
CREATE DATABASE provisioning OWNER provisioning;
SQL
