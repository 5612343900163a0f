"""What the system checks of all apps share."""

from __future__ import annotations

#: The tag of all of the project's own checks.
TAG = "holdfast"
