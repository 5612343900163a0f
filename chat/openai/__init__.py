"""The chat completions of OpenAI's API, for programs that speak nothing else. One call, one session."""
