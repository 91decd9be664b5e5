"""The screen of the command line: the one that ``progress=True`` draws on as well."""

from ftppool.screen import Screen, amount, size

__all__ = ["Screen", "amount", "size"]
