"""How the documentation is built: `make docs`, without a network."""

import os
import sys
from pathlib import Path
from typing import Any

import dec_jax

# Notebooks call `dec-jax` as it is installed beside the Python that builds.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
os.environ["TTY_COMPATIBLE"] = "0"  # lines instead of progress bars

project = "dec_jax"
author = "The dec_jax authors"
release = version = dec_jax.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "myst_nb",
    "sphinx_copybutton",
]
templates_path = ["_templates"]
exclude_patterns = ["_build"]
default_role = "code"  # docstrings write `name`
suppress_warnings = ["ref.python"]  # types in signatures that several modules have, such as Row

html_theme = "furo"
html_title = "dec_jax"
html_copy_source = False
copybutton_exclude = ".linenos, .gp, .go"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 600  # of a cell, in seconds
nb_merge_streams = True

napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autosummary_generate = True


def skip_generated(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leaves out fields of named tuples, which the class explains as its attributes, and what scikit-learn adds."""
    is_field = (getattr(obj, "__doc__", None) or "").startswith("Alias for field number")
    return True if is_field or name.endswith("_request") else None


def setup(app: Any) -> None:
    """Connects what is above with Sphinx."""
    app.connect("autodoc-skip-member", skip_generated)
