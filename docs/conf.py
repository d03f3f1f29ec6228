"""How the documentation is built. Nothing here needs a network."""

from __future__ import annotations

import logging
import re

from sphinx.application import Sphinx

from statecore import __version__
from statecore.testing._core import digest

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


def setup(app: Sphinx) -> None:
    """What was measured says of which core; whether that is the core at hand is only known now."""
    now = digest()
    app.add_config_value("core", now, "env")  # pages are read again when it changes

    def say(_app: Sphinx, _page: str, source: list[str]) -> None:
        source[0] = re.sub(
            r"core `([0-9a-f]{12})`",
            lambda found: f"{found[0]}, {'which is this one' if found[1] == now else 'which has been changed since'}",
            source[0],
        )

    app.connect("source-read", say)
