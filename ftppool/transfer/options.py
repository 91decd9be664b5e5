"""How uploads are put in place, and what they find out together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Self, get_args

from ftppool.errors import ConfigError
from ftppool.transfer.directories import Directories
from ftppool.transfer.parts import PART_NAME, check_part_name

__all__ = ["Conflict", "Shared", "UploadOptions", "Verify"]

Conflict = Literal["overwrite", "skip", "skip_same", "fail"]
Verify = Literal["size", "hash", "none"]


class UploadOptions(NamedTuple):
    """How files are put in place.

    Attributes:
        atomic: Send to a part name in the same directory and rename when the file is whole.
        verify: ``"size"`` compares the server's own SIZE with the bytes sent, ``"hash"`` also the
            server's own digest of what it has; ``"none"`` nothing.
        on_conflict: What to do if the name exists: ``"overwrite"``, ``"skip"``, ``"skip_same"``
            (skip it if size and time are the same) or ``"fail"``.
        makedirs: Make missing directories.
        preserve_mtime: Give the file the time of its source.
        resume: Go on with a part that was broken off, from the offset that the server proves.
        part_name: Pattern of the part name.
    """

    atomic: bool = True
    verify: Verify = "size"
    on_conflict: Conflict = "overwrite"
    makedirs: bool = True
    preserve_mtime: bool = False
    resume: bool = False
    part_name: str = PART_NAME

    @classmethod
    def among(cls, options: Mapping[str, Any]) -> Self:
        """Take them out of the options of a batch.

        Raises:
            ConfigError: One of them is wrong.
        """
        how = cls(**{name: options[name] for name in cls._fields if name in options})
        for name, allowed in (("verify", get_args(Verify)), ("on_conflict", get_args(Conflict))):
            if getattr(how, name) not in allowed:
                words = ", ".join(repr(word) for word in allowed)
                raise ConfigError(f"{name}={getattr(how, name)!r}: write one of {words}")
        check_part_name(how.part_name)
        return how


class Shared:
    """What the uploads of one batch have found out about the server together.

    Attributes:
        directories: Those that are known to exist.
        dotless: True if names with a leading dot are refused.
        sizeless: True if there is no SIZE.
        tells_sizes: True once SIZE has told one: what it does not know then is not there.
    """

    dotless: bool = False
    sizeless: bool = False
    tells_sizes: bool = False

    def __init__(self, directories: Directories) -> None:
        self.directories: Directories = directories
