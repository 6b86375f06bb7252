"""Packages that only some data need: imported where they are used, or named with the extra that brings them."""

import importlib
from types import ModuleType


def need(module: str, extra: str, what: str, package: str = "") -> ModuleType:
    """Returns the module.

    Args:
        module: its name.
        extra: the extra of dec_jax that installs it.
        what: what needs it, for the message.
        package: the name that it is installed by, where that is another one.

    Raises:
        ImportError: it is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f'{what} needs {package or module}: pip install "dec_jax[{extra}]" ({error})') from error
