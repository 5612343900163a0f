"""Decodes server-sent events from the bytes of a response, however they were cut into pieces."""

from __future__ import annotations

_BOM = b"\xef\xbb\xbf"
#: No provider sends a line near this size; a line without an end must not fill the memory.
_MAX_LINE = 16 * 1024 * 1024


class SSEDecoder:
    """Turns pieces of bytes into ``(event name, data)`` pairs; the name is "" when the stream gives none.

    Lines end in LF, CRLF or CR. Bytes are only decoded as whole lines, so a character that is cut in two by
    the network is put together again.
    """

    __slots__ = ("_data", "_event", "_pending", "_size", "_started")

    def __init__(self) -> None:
        self._pending: list[bytes] = []
        self._size = 0
        self._started = False
        self._event = ""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> list[tuple[str, str]]:
        """Return the events that ``piece`` completed.

        Raises:
            ValueError: a line grew beyond 16 MiB.
        """
        # Everything up to the last line end is complete. A CR at the very end may be half of a CRLF: it waits.
        if self._pending and self._pending[-1].endswith(b"\r"):
            piece = self._take() + piece
        cut = piece.rfind(b"\n") + 1
        if b"\r" in piece:
            cut = max(cut, piece.rfind(b"\r", 0, len(piece) - 1) + 1)
        if not cut:
            self._keep(piece)
            return []
        head = piece[:cut]
        if self._pending:
            head = self._take() + head
        if cut < len(piece):
            self._keep(piece[cut:])
        return self._lines(head)

    def close(self) -> list[tuple[str, str]]:
        """Return what the end of the stream completed: some servers leave out the last line end."""
        return [*self._lines(self._take()), *self._lines(b"\n")]

    def _take(self) -> bytes:
        rest = b"".join(self._pending)
        self._pending.clear()
        self._size = 0
        return rest

    def _keep(self, rest: bytes) -> None:
        self._pending.append(rest)
        self._size += len(rest)
        if self._size > _MAX_LINE:
            raise ValueError("a line of the stream is too long")

    def _lines(self, block: bytes) -> list[tuple[str, str]]:
        events: list[tuple[str, str]] = []
        if not self._started and block:
            self._started = True
            block = block.removeprefix(_BOM)
        for line in block.splitlines():
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif not line:
                if self._data:
                    events.append((self._event, b"\n".join(self._data).decode("utf-8", "replace")))
                    self._data.clear()
                self._event = ""
            else:
                self._other_line(line)
        return events

    def _other_line(self, line: bytes) -> None:
        # A blank before the field name is wrong, but seen; a line that begins with a colon is a comment.
        name, _, value = line.lstrip(b" ").partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        elif name == b"event":
            self._event = value.strip().decode("utf-8", "replace")
