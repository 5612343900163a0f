"""What goes wrong with MCP servers."""


class McpError(Exception):
    """The server could not be reached or the call failed; a sentence for the model and the person."""
