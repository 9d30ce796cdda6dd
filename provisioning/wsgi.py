"""The web server's entry."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "provisioning.settings")

from provisioning.celery import app  # noqa: E402, F401 # binds `shared_task` to our broker

application = get_wsgi_application()
