"""App registration."""

from django.apps import AppConfig


class CopilotConfig(AppConfig):
    """The copilot app."""

    name = "copilot"
