"""A channel layer of one's own, followers and writers."""

from tests.events.followers import holder, hurried, layer, named_loop, watch
from tests.events.writing import appender, database, log
from tests.harness import hints

__all__ = ["appender", "database", "hints", "holder", "hurried", "layer", "log", "named_loop", "watch"]
