"""Payloads and signatures of the platforms that others collected, where they are at hand (``HOLDFAST_CORPUS``)."""
