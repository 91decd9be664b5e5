"""Resolve the names that docstrings and annotations use, without any network.

A name of ours is documented as users import it (``ftppool.Outcome``) while annotations know where
it lives (``ftppool.report.Outcome``). A name of the standard library or of paramiko stays plain
text, but it must exist: a wrong name is an error as everywhere else.
"""

from __future__ import annotations

import builtins
import importlib
from typing import Any

from docutils.nodes import Element
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import ftppool

# What annotations name and nobody has to know: it stays plain text.
PRIVATE = {
    "Conflict", "DownloadBatchOptions", "DownloadOptions", "Entry", "FileOps", "Input", "Limiter",
    "PathLike", "Patterns", "PoolOptions", "Scheme", "Source", "UploadBatchOptions", "Verify",
    "Wanted", "optional",
}  # fmt: skip


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element
) -> Element | None:
    """Point to the documented name, or let a foreign name be text."""
    if node.get("refdomain") != "py":
        return None
    target = str(node["reftarget"])
    name = target.rpartition(".")[2]
    ours = f"ftppool.{name}" if name in ftppool.__all__ else target
    if ours != target:
        domain = env.get_domain("py")
        found: Any = domain.resolve_xref(
            env, node["refdoc"], app.builder, node["reftype"], ours, node, content
        )
        return found or _any(app, env, node, content, ours)
    if name in PRIVATE or _exists(target):
        return content
    return None


def _any(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element, target: str
) -> Element | None:
    found = env.get_domain("py").resolve_any_xref(
        env, node["refdoc"], app.builder, target, node, content
    )
    return found[0][1] if found else None


def _exists(target: str) -> bool:
    """True if this is a name of Python or of a library that is installed, and not of ours."""
    if target.startswith("ftppool"):
        return False
    if hasattr(builtins, target):
        return True
    module, _, name = target.rpartition(".")
    while module:
        try:
            found: Any = importlib.import_module(module)
        except ImportError:
            module, _, more = module.rpartition(".")
            name = f"{more}.{name}"
            continue
        for part in name.split("."):
            found = getattr(found, part, None)
        return found is not None
    return False


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
