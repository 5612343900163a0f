"""REST for sessions, messages, turns and their events, under ``/api/v1/``."""
