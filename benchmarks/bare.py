"""The baseline of the HTTP benchmarks: a plain Django view with one UPDATE or SELECT.

The same web server runs this view, with the same number of processes and threads.
"""

import json
import os
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application

if not settings.configured:
    import dj_database_url
    import django

    settings.configure(
        SECRET_KEY="bare",  # not a secret: runs on loopback without user data
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
        INSTALLED_APPS=[],
        DATABASES={"default": dj_database_url.parse(os.environ["DATABASE_URL"], conn_max_age=600)},
        USE_TZ=True,
    )
    django.setup()

from django.db import models  # needs the settings above
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.utils import timezone


class Bare(models.Model):
    seen = models.DateTimeField()

    class Meta:
        app_label = "bare"
        db_table = "bare"
        managed = False


def update(request: HttpRequest, number: int) -> JsonResponse:
    json.loads(request.body)
    Bare._default_manager.filter(pk=number).update(seen=timezone.now())
    return JsonResponse({"status": "ok"})


def select(request: HttpRequest, number: int) -> JsonResponse:
    values = Bare._default_manager.filter(pk=number).values_list("seen", flat=True)
    return JsonResponse({"seen": values.first()})


urlpatterns: list[Any] = [path("<int:number>", update), path("select/<int:number>", select)]
application = get_wsgi_application()
