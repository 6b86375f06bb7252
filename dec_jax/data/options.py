"""What a user may say about the columns and the shape of their data."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dec_jax.validation import check_choice, check_image_shape, check_number

MISSING_RULES = ("median", "drop", "indicator")
PARTS = ("all", "train", "test")


@dataclass(frozen=True)
class TableOptions:
    """How a table, a stack of arrays or an archive becomes samples.

    Attributes:
        columns: names of the columns to use, id-like ones too; empty for all that can be used.
        drop: names of the columns to leave out.
        id_column: name of the column that names the samples; it is not a feature.
        label_column: name of the column that holds the classes; it is not a feature.
        missing: what becomes of missing values. None refuses them, "median" fills in the column's median (the most
            frequent category), "drop" leaves the rows out, "indicator" is "median" with one more feature per column
            that has missing values.
        missing_values: numbers that stand for a missing value, such as 999999.
        part: "train", "test" or "all", of an archive that holds x_train, x_test and so on.
        image_shape: (height, width) or (height, width, channels) of one sample, also as text "28,28"; None where
            the data say it, or samples are not images.

    Raises:
        TypeError, ValueError: an option holds something else.
    """

    columns: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    id_column: str | None = None
    label_column: str | None = None
    missing: str | None = None
    missing_values: tuple[float, ...] = ()
    part: str = "all"
    image_shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("columns", "drop"):
            object.__setattr__(self, name, _names(name, getattr(self, name)))
        for name in ("id_column", "label_column"):
            if not isinstance(getattr(self, name), str | None):
                raise TypeError(f"{name} must be the name of a column, got {getattr(self, name)!r}")
        if self.missing is not None:
            check_choice("missing", self.missing, MISSING_RULES)
        check_choice("part", self.part, PARTS)
        values = tuple(check_number("missing_values", value) for value in _listed(self.missing_values))
        object.__setattr__(self, "missing_values", values)
        if self.image_shape is not None:
            object.__setattr__(self, "image_shape", _image_shape(self.image_shape))

    @property
    def about_columns(self) -> bool:
        """Whether anything is said about columns, which an array is read as a table for."""
        return bool(
            self.columns or self.drop or self.id_column or self.label_column or self.missing or self.missing_values
        )


def _listed(value: Any) -> Iterable[Any]:
    return value if isinstance(value, Iterable) and not isinstance(value, str) else (value,)


def _names(name: str, value: Any) -> tuple[str, ...]:
    names = tuple(_listed(value))
    if wrong := [entry for entry in names if not isinstance(entry, str)]:
        raise TypeError(f"{name} must be names of columns, got {wrong[0]!r}")
    return names


def _image_shape(value: Any) -> tuple[int, ...]:
    message = f"image_shape must be height,width or height,width,channels, got {value!r}"
    try:
        shape = tuple(int(size) for size in value.split(",")) if isinstance(value, str) else tuple(value)
    except (TypeError, ValueError) as error:
        raise ValueError(message) from error
    if len(shape) not in (2, 3):
        raise ValueError(message)
    return check_image_shape(shape)
