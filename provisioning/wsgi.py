"""The web server's entry."""

import os
import signal

from django.core.wsgi import get_wsgi_application

from provisioning.processes import die_with_parent

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "provisioning.settings")

# The server's own end may come too suddenly for it to end its workers, and an orphan
# would keep the port.
die_with_parent(signal.SIGKILL)

application = get_wsgi_application()
