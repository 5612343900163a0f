"""Threads that tell people, so that a slow mail server keeps nothing else waiting."""

from __future__ import annotations

import logging
import queue
import threading
import uuid
from collections.abc import Callable

from django.db import InterfaceError, OperationalError

from common.db import release_connections
from common.errors import Busy

logger = logging.getLogger(__name__)

THREADS = 4
#: More than wait here are handed over again later.
ROOM = 200


class Messenger:
    """Calls ``tell`` for what it is handed, a few at a time. What is here is never here twice."""

    def __init__(self, tell: Callable[[uuid.UUID], object]) -> None:
        self._tell = tell
        self._queue: queue.SimpleQueue[uuid.UUID] = queue.SimpleQueue()
        self._here: set[uuid.UUID] = set()
        self._changed = threading.Condition()
        self._started = False

    def hand_over(self, action_id: uuid.UUID) -> bool:
        """Have somebody told; False when it is here already, or too many are."""
        with self._changed:
            if action_id in self._here or len(self._here) >= ROOM:
                return False
            self._here.add(action_id)
            self._start()
        self._queue.put(action_id)
        return True

    def drain(self, seconds: float) -> bool:
        """Wait until nothing is left to do; False when that took longer than ``seconds``."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._here, seconds)

    def _start(self) -> None:
        if self._started:
            return
        self._started = True
        for number in range(THREADS):
            threading.Thread(target=self._run, name=f"reach_{number}", daemon=True).start()

    def _run(self) -> None:
        while True:
            action_id = self._queue.get()
            try:
                self._tell(action_id)
            except (OperationalError, InterfaceError, Busy) as error:
                # The database is away or busy: a later pass finds it again.
                logger.warning("not reached", extra={"action": "reach_put_off", "error": repr(error)})
            except Exception:
                logger.exception("reaching failed", extra={"action": "reach_failed", "approval": action_id})
            finally:
                release_connections()
                with self._changed:
                    self._here.discard(action_id)
                    self._changed.notify_all()
