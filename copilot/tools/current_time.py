"""What time it is."""

from __future__ import annotations

import datetime
import zoneinfo
from typing import Any

from copilot.tools.base import Tool, ToolContext, ToolError, object_schema


class CurrentTime(Tool):
    """The date and time, in a zone of the model's choice or the person's."""

    name = "current_time"
    description = "Get the current date and time, in the user's time zone unless another one is given."
    parameters = object_schema(
        [], timezone={"type": "string", "description": "An IANA name such as Europe/Berlin."}
    )
    idempotent = True

    async def run(self, context: ToolContext, **arguments: Any) -> Any:
        name = arguments.get("timezone") or context.time_zone or "UTC"
        try:
            zone = zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:  # a folder, or too long a name
            raise ToolError(f"There is no time zone named {name!r}. Use a name such as Europe/Berlin.") from error
        now = datetime.datetime.now(zone)
        return {"time": now.isoformat(timespec="seconds"), "timezone": name, "weekday": now.strftime("%A")}
