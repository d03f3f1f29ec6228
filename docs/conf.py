"""How the documentation is built. Nothing here needs a network."""

from __future__ import annotations

import logging

from statecore import __version__

project = "statecore"
author = "the statecore authors"
copyright = "2026, the statecore authors"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
# A section may be empty; its pages are picked up as they come. This warning has no type to suppress it by.
logging.getLogger("sphinx.sphinx.directives.other").addFilter(
    lambda record: getattr(record, "subtype", "") != "empty_glob"
)

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

default_role = "literal"  # docstrings write `name`, which is code here
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True  # a signature shows FLOWS, not all of what it holds

html_theme = "furo"
html_title = f"statecore {release}"
html_copy_source = False
html_show_sphinx = False
