"""What MCP servers offer, as it was last heard."""

from __future__ import annotations

from django.db import models

from common.db import db_now


class McpServer(models.Model):
    """A server of ``MCP_SERVERS``. Workers write what it offers; web processes, which never connect, read it.

    The list outlives the server: what a person approved is found by its name days later, and a turn does not wait
    for a server that is down.
    """

    name = models.CharField(max_length=32, primary_key=True)
    #: The last list that was heard, as ``copilot.mcp.listing`` checked it.
    tools = models.JSONField(default=list)
    listed_at = models.DateTimeField(null=True, default=None)
    #: Why the last connection could not be made; empty after one that could.
    problem = models.CharField(max_length=500, blank=True, default="")
    tried_at = models.DateTimeField(db_default=db_now())

    def __str__(self) -> str:
        return self.name
