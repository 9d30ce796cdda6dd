# One image for every role: `web`, `stream`, `worker`, `beat`, and any command of manage.py.

FROM python:3.11-slim-bookworm AS build
WORKDIR /project
COPY requirements.txt .
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --no-deps -r requirements.txt

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin provisioning \
    && install -d -o provisioning -g provisioning /var/lib/provisioning
COPY --from=build /opt/venv /opt/venv
WORKDIR /project
COPY --chown=root:root . .
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    VAR_DIR=/var/lib/provisioning \
    HOST=0.0.0.0 \
    ROLE=web
USER provisioning
EXPOSE 8000 9000
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s CMD ["python", "deploy/healthy.py"]
ENTRYPOINT ["python", "manage.py"]
CMD ["serve", "web"]
