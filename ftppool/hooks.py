"""What the end of the process and a fork of it call for, in an order that no late import changes.

Most modules come in at the first use of a pool. Exit handlers run last in, first out, and those of
a forked child first in, first out. Ours have to run after the user's at the exit, as his may use a
pool, and before his in a child, as it must not use its parent's sessions: so Python is told here,
by what he imports first, and the modules tell only us.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import importlib
import logging  # noqa: F401 - its exit handler closes the log files, so it has to come after ours
import os
import threading
from collections.abc import Callable
from typing import TypeVar

from ftppool.bell import Bell

__all__ = ["at_exit", "bring_in", "in_child", "unbroken"]

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds for which a fork waits for an import; should it never end, the fork is still had."""

_at_exit: list[Callable[[], object]] = []
_in_child: list[Callable[[], object]] = []
_importing = threading.RLock()
_whole: set[str] = set()


def at_exit(call: Callable[[], object]) -> None:
    """Have something called at the interpreter's exit; what came last is called first."""
    _at_exit.append(call)


def in_child(call: Callable[[], object]) -> None:
    """Have something called in each forked child."""
    _in_child.append(call)


def unbroken(load: Callable[[], T]) -> T:
    """Do what imports modules: no Ctrl-C breaks it off, and forks wait until it is done.

    A Ctrl-C can leave the lock of a module taken for ever (importlib takes it in Python code), and
    a fork while another thread imports leaves the child with a module that it can never import. So
    the main thread, where signals arrive, lets another one do it and waits on a raw lock.
    """
    if threading.current_thread() is not threading.main_thread():
        with _importing:
            return load()
    done: list[T] = []
    errors: list[BaseException] = []
    bell = Bell()

    def run() -> None:
        try:
            with _importing:
                done.append(load())
        except BaseException as error:  # noqa: BLE001 - to the caller
            errors.append(error)
        finally:
            bell.ring()

    try:
        _thread.start_new_thread(run, ())
    except RuntimeError:  # no more threads, or the interpreter is about to exit
        return load()
    bell.wait(None)
    if errors:
        raise errors[0]
    return done[0]


def bring_in(name: str) -> None:
    """Import a module in that way, if it is not there; ``import`` itself then finds it whole."""
    if name not in _whole:
        unbroken(lambda: importlib.import_module(name))
        _whole.add(name)


@atexit.register
def _exit() -> None:
    with contextlib.ExitStack() as calls:  # whatever one of them raises, the next one is called
        for call in _at_exit:
            calls.callback(call)


def _before_fork() -> None:
    _importing.acquire(timeout=PATIENCE)


def _after_fork_in_parent() -> None:
    with contextlib.suppress(RuntimeError):  # it was not to be had in time
        _importing.release()


def _after_fork_in_child() -> None:
    global _importing  # noqa: PLW0603 - another thread of the parent may have had it for too long
    _importing = threading.RLock()
    with contextlib.ExitStack() as calls:
        for call in reversed(_in_child):
            calls.callback(call)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
