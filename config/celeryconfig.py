"""Celery's settings, read when first needed."""

from __future__ import annotations

import ssl

from django.conf import settings

broker_url = settings.REDIS_URL or "memory://localhost/"
if settings.EMBEDDED:
    broker_transport = "config.broker:MemoryTransport"
else:
    broker_transport = "config.broker:RedisTransport"
    broker_transport_options = {
        "socket_timeout": 2,
        "socket_connect_timeout": 2,
        "max_retries": 0,
    }
    if settings.REDIS_URL.startswith("rediss://"):
        broker_use_ssl = {"ssl_cert_reqs": ssl.CERT_REQUIRED}
broker_connection_retry_on_startup = True
broker_connection_max_retries = None  # Redis may be away for as long as it likes
task_publish_retry = False
task_ignore_result = True
task_acks_late = True
worker_prefetch_multiplier = 1
worker_pool = "threads"
worker_concurrency = settings.WORKER_TURNS
worker_hijack_root_logger = False
worker_send_task_events = False
worker_cancel_long_running_tasks_on_connection_loss = False
imports = ["copilot.tasks", "linking.tasks"]
task_serializer = "json"
accept_content = ["json"]
timezone = "UTC"
