"""What typing_extensions has, without its import, a tenth of all that we import."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

__all__ = ["Buffer", "override"]

if TYPE_CHECKING:
    from typing_extensions import Buffer, override
else:
    Buffer = bytes | bytearray | memoryview
    """What has bytes in memory; at run time only the common ones are named."""
    Method = TypeVar("Method")

    def override(method: Method) -> Method:
        """Mark a method that overrides one of a base class, for type checkers."""
        return method
