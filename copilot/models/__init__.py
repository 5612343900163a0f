"""The engine's rows. The invariants live in their constraints."""

from copilot.models.compaction import Compaction
from copilot.models.event import TurnEvent, TurnLog
from copilot.models.file import File
from copilot.models.mcp import McpServer
from copilot.models.message import Message
from copilot.models.operator import OperatorEntry
from copilot.models.preset import Preset
from copilot.models.rate import SendRate
from copilot.models.session import Session
from copilot.models.step import Step
from copilot.models.tool_call import ToolCall
from copilot.models.turn import Turn
from copilot.models.usage import UsageRecord
from copilot.models.usage_counter import UsageCounter
from copilot.models.user import User
from copilot.models.worker import Worker

__all__ = [
    "Compaction",
    "File",
    "McpServer",
    "Message",
    "OperatorEntry",
    "Preset",
    "SendRate",
    "Session",
    "Step",
    "ToolCall",
    "Turn",
    "TurnEvent",
    "TurnLog",
    "UsageCounter",
    "UsageRecord",
    "User",
    "Worker",
]
