"""Adapters that bring the agents to chat platforms.

They are outside programs: they reach Holdfast by its REST API alone, with a bot's key, and know no model of it.
"""
