"""Who may call what operators call."""

from __future__ import annotations

from common.rest import ApiView


class OperatorView(ApiView):
    """A view for members of staff; of their keys, for those with the scope ``operator``.

    Every view of this package is one, so that none can forget to ask.
    """

    scope = "operator"
