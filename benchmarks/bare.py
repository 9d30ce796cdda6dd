"""The baseline of the HTTP benchmarks: one plain view, one UPDATE, no framework on top.

Served by the same server with the same number of processes and threads.
"""

import os
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application

if not settings.configured:
    import dj_database_url

    settings.configure(
        SECRET_KEY="bare",  # serves a table of figures on loopback, for a minute
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        MIDDLEWARE=[],
        INSTALLED_APPS=[],
        DATABASES={
            "default": dj_database_url.parse(os.environ["DATABASE_URL"], conn_max_age=600)
        },
        USE_TZ=True,
    )

from django.db import connection  # noqa: E402 # after the settings
from django.http import HttpRequest, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402


def update(request: HttpRequest, number: int) -> JsonResponse:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE bare SET seen = now() WHERE id = %s", [number])
    return JsonResponse({"status": "ok"})


urlpatterns: list[Any] = [path("<int:number>", update)]
application = get_wsgi_application()
