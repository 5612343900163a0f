"""The project: settings, URLs, and how its processes are wired. Importing it names the Celery application."""

from config.celery import app as celery_app

__all__ = ["celery_app"]
