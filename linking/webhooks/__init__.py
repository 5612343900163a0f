"""Telling bots what happens, instead of being asked."""
