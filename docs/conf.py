"""How Sphinx builds these pages: ``make docs``."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from ftppool import __version__  # noqa: E402 - the path comes first

project = "ftppool"
author = "The ftppool authors"
copyright = author  # noqa: A001 - Sphinx's name for it
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "diagrams",
    "generated",
    "names",
]
exclude_patterns = ["_build", "_ext"]
nitpicky = True

html_theme = "furo"
html_title = "ftppool"
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"top_of_page_buttons": []}

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# Prompts and outputs stay behind when a command is copied.
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
maximum_signature_line_length = 80
napoleon_use_ivar = True
napoleon_use_rtype = False
