"""Remote files as file objects: whole ones, kept in memory or in a temporary file meanwhile."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, BinaryIO, TypeAlias, cast

from ftppool.drivers.base import FileOps
from ftppool.errors import VerifyError
from ftppool.logs import log
from ftppool.typed import override

__all__ = ["open_to_read", "open_to_write"]

_Send: TypeAlias = Callable[[Callable[[], BinaryIO]], object]

IN_MEMORY = 8 << 20
"""Bytes above which the content waits on the local disk."""


def open_to_read(files: FileOps, path: str) -> BinaryIO:
    """Fetch a file and return it, open at its beginning.

    Raises:
        VerifyError: Fewer or more bytes came than the server says there are.
    """
    content = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - the caller closes it
    try:
        expected = files.size(path)
        received = files.retrieve(path, content.write)
        if expected not in (None, received):
            raise VerifyError(
                f"{path}: {received} bytes came, the server has {expected}", phase="verify"
            )
        content.seek(0)
    except BaseException:
        content.close()
        raise
    return cast("BinaryIO", content)


def open_to_write(send: _Send, path: str) -> BinaryIO:
    """Return a file whose content is sent when it is closed, unless an exception closes it.

    Args:
        send: Called with a function that opens the content at its beginning.
        path: What to call it in the log.
    """
    return cast("BinaryIO", _Outgoing(send, path))


class _Content:
    """The content for somebody who closes it more than once."""

    def __init__(self, content: _Outgoing) -> None:
        content.seek(0)
        self.read: Callable[[int], bytes] = content.read

    def close(self) -> None:
        """Leave it open: it may be sent again."""


class _Outgoing(tempfile.SpooledTemporaryFile[bytes]):
    def __init__(self, send: _Send, path: str) -> None:
        super().__init__(IN_MEMORY)
        self._send: _Send | None = send
        self._path = path
        # What this thread handles already does not speak against what is written from now on.
        self._before = _handled()

    @override
    def write(self, data: Any) -> int:
        with self._whole_or_not_at_all():
            return super().write(data)

    @override
    def writelines(self, lines: Any) -> None:
        with self._whole_or_not_at_all():
            super().writelines(lines)

    @contextlib.contextmanager
    def _whole_or_not_at_all(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._send = None  # what follows would come behind a gap
            raise

    @override
    def close(self) -> None:
        # What is wrapped around this (io.TextIOWrapper) closes it without a word on how its own
        # block was left; but an exception that leaves a block is the one that is handled now.
        error, trace = _handled()
        if error is not None and not (error is self._before[0] and trace is self._before[1]):
            if self._send is not None:
                log.warning(
                    "ftppool: %r was not sent: it was closed while %s was handled",
                    self._path, type(error).__name__, remote=self._path,
                )  # fmt: skip
            self._send = None
        self._finish()

    @override
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._send = None
        self._finish()

    def _finish(self) -> None:
        send, self._send = self._send, None
        self._before = None, None  # with its traceback, it would keep this object alive
        try:
            if send is not None:
                send(lambda: cast("BinaryIO", _Content(self)))
        finally:
            super().close()

    def _dealloc_warn(self, _wrapper: object) -> None:
        # The finalizers of io.TextIOWrapper and io.BufferedWriter call this just before close().
        self._send = None

    def __del__(self) -> None:
        # Lost without close(): nobody said that it is complete.
        self._send = None
        super().close()


def _handled() -> tuple[BaseException | None, TracebackType | None]:
    """Give the exception that this thread handles, and how far it had come."""
    error = sys.exception()
    return error, None if error is None else error.__traceback__
