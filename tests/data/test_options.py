import pytest

from dec_jax.data.options import TableOptions


def test_one_name_or_number_may_stand_for_a_list():
    options = TableOptions(columns="a", drop=["b", "c"], missing_values=-999, image_shape="8,8,3")
    assert (options.columns, options.drop, options.missing_values) == (("a",), ("b", "c"), (-999.0,))
    assert options.image_shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("fields", "error", "problem"),
    [
        ({"columns": 3}, TypeError, "columns must be names of columns, got 3"),
        ({"id_column": 3}, TypeError, "id_column must be the name of a column, got 3"),
        ({"missing": "mean"}, ValueError, "unknown missing 'mean'.*accepted: median, drop, indicator"),
        ({"missing_values": ("NA",)}, TypeError, "missing_values must be a number, got 'NA'"),
        ({"part": "validation"}, ValueError, "unknown part 'validation'"),
        ({"image_shape": "8"}, ValueError, "image_shape must be height,width or height,width,channels, got '8'"),
        ({"image_shape": "8,x"}, ValueError, "image_shape must be height,width"),
        ({"image_shape": (8, 0)}, ValueError, r"image_shape\[1\] must be at least 1, got 0"),
        ({"image_shape": 8}, ValueError, "image_shape must be height,width"),
    ],
)
def test_what_is_no_option(fields, error, problem):
    with pytest.raises(error, match=problem):
        TableOptions(**fields)
