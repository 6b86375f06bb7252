"""What a command line says about the columns of a table and the shape of an image."""

import argparse

from dec_jax.data import TableOptions
from dec_jax.data.options import MISSING_RULES, PARTS


def add_arguments(cli: argparse.ArgumentParser) -> None:
    """Adds the options that `read` reads."""
    table = cli.add_argument_group("a table, or an array, of your own")
    table.add_argument("--columns", metavar="NAME,…", help="columns to use (default: all that can be)")
    table.add_argument("--drop", metavar="NAME,…", help="columns to leave out")
    table.add_argument("--id-column", metavar="NAME", help="column that names the samples")
    table.add_argument("--label-column", metavar="NAME", help="column of classes, used for scores only")
    table.add_argument("--missing", metavar="RULE", help=f"for missing values: {', '.join(MISSING_RULES)}")
    table.add_argument("--missing-values", metavar="X,…", help="numbers that stand for a missing value")
    table.add_argument("--part", default="all", metavar="PART", help=f"of an archive: {', '.join(PARTS)}")
    table.add_argument("--image-shape", metavar="H,W[,C]", help="of one sample")


def read(arguments: argparse.Namespace) -> TableOptions:
    """The options of a command line.

    Raises:
        TypeError, ValueError: a value is not accepted.
    """
    try:
        missing_values = tuple(float(value) for value in _listed(arguments.missing_values))
    except ValueError:
        raise ValueError(f"missing_values must be numbers, got {arguments.missing_values!r}") from None
    return TableOptions(
        columns=_listed(arguments.columns),
        drop=_listed(arguments.drop),
        id_column=arguments.id_column,
        label_column=arguments.label_column,
        missing=arguments.missing,
        missing_values=missing_values,
        part=arguments.part,
        image_shape=arguments.image_shape,
    )


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",")) if text else ()
