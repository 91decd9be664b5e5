"""Remote files as file objects: whole ones, kept in memory or in a temporary file meanwhile."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from types import TracebackType
from typing import BinaryIO, TypeAlias, cast

from ftppool.drivers.base import FileOps
from ftppool.errors import VerifyError
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


def open_to_write(send: _Send) -> BinaryIO:
    """Return a file whose content is sent when it is closed, unless an exception closes it.

    Args:
        send: Called with a function that opens the content at its beginning.
    """
    return cast("BinaryIO", _Outgoing(send))


class _Content:
    """The content for somebody who closes it more than once."""

    def __init__(self, content: _Outgoing) -> None:
        content.seek(0)
        self.read: Callable[[int], bytes] = content.read

    def close(self) -> None:
        """Leave it open: it may be sent again."""


class _Outgoing(tempfile.SpooledTemporaryFile[bytes]):
    def __init__(self, send: _Send) -> None:
        super().__init__(IN_MEMORY)
        self._send: _Send | None = send

    @override
    def close(self) -> None:
        send, self._send = self._send, None
        try:
            if send is not None:
                send(lambda: cast("BinaryIO", _Content(self)))
        finally:
            super().close()

    @override
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._send = None
        self.close()

    def __del__(self) -> None:
        # Lost without close(): nobody said that it is complete.
        self._send = None
        super().close()
