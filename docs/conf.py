"""How the documentation is built: `make docs`, without a network."""

import os
import sys
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any

import nbclient
from jupyter_cache.executors import utils as execution

import dec_jax

# Notebooks call `dec-jax` as it is installed beside the Python that builds.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
os.environ["TTY_COMPATIBLE"] = "0"  # lines instead of progress bars

project = "dec_jax"
author = project_copyright = "the dec_jax authors"
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
smartquotes_action = "D"  # quotes in docstrings are those of code
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
# What a command prints arrives in pieces of 100 bytes.
execution.executenb = partial(nbclient.execute, coalesce_streams=True)

napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_attr_annotations = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autosummary_generate = True


def skip_generated(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leaves out fields, which the class explains as its attributes, and what scikit-learn adds."""
    is_field = (getattr(obj, "__doc__", None) or "").startswith("Alias for field number")
    is_default = what == "class" and isinstance(obj, FunctionType) and "." not in obj.__qualname__  # of a field
    return True if is_field or is_default or name.endswith("_request") else None


def setup(app: Any) -> None:
    """Connects what is above with Sphinx."""
    app.connect("autodoc-skip-member", skip_generated)
