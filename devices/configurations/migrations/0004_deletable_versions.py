"""Versions of configurations go with their tenant, and lose the name of an erased person."""

from django.db import migrations

BEFORE = """
CREATE OR REPLACE FUNCTION configurations_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'A version of a configuration is never changed.'
        USING ERRCODE = 'insufficient_privilege';
END $$;
"""
AFTER = """
CREATE OR REPLACE FUNCTION configurations_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('provisioning.retention', true) = 'on' THEN
        RETURN OLD;
    END IF;
    IF TG_OP = 'UPDATE' AND current_setting('provisioning.erasure', true) = 'on' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'A version of a configuration is never changed.'
        USING ERRCODE = 'insufficient_privilege';
END $$;
"""


class Migration(migrations.Migration):

    dependencies = [
        ('configurations', '0003_site_rounds'),
    ]

    operations = [migrations.RunSQL(AFTER, BEFORE)]
