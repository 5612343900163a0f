"""Holdfast behind other people's front ends: the UI message stream of the AI SDK, one response at a time."""
