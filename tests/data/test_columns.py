import numpy as np
import pytest

from dec_jax.data.columns import decide
from dec_jax.data.options import TableOptions

pd = pytest.importorskip("pandas")
N = 40
RNG = np.random.default_rng(0)
SIZE = RNG.normal(size=N)


def test_one_letter_is_not_another():
    for letters in ("TY", "FN", "YNF"):
        assert column(list(letters) * 10).kind == "category"
    assert column(list("YN") * 10).kind == "boolean"


def test_ids_with_gaps_and_of_many_digits_are_ids():
    assert column([None, *np.arange(39) * 37 + 5000], name="customer_id").kind == "id"
    assert column([10**22 + i for i in range(N)], name="id").kind == "id"
    assert column([10**18 + 7 * i for i in range(N)], name="user_id").kind == "id"


def column(values, name="c", position=1, **options):
    """The decision about one column of a table that has another one."""
    data = {"size": SIZE[: len(values)], name: values}
    if position == 0:
        data = {name: values, "size": SIZE[: len(values)]}
    frame = pd.DataFrame(data)
    return decide(frame, TableOptions(**options))[position]


@pytest.mark.parametrize(
    ("values", "kind", "action"),
    [
        (SIZE, "number", "kept"),
        (RNG.integers(0, 5, N), "number", "kept"),
        (RNG.permutation(N) * 3, "number", "kept"),
        (pd.array([1, None, 2, 2] * 10, "Int64"), "number", "kept"),
        ([" 1.5", "2", "NA", "3e5"] * 10, "number", "kept"),
        (SIZE > 0, "boolean", "kept"),
        (pd.array([True, None] * 20, "boolean"), "constant", "kept"),
        (pd.array([True, None, False, False] * 10, "boolean"), "boolean", "kept"),
        (["yes", "no"] * 20, "boolean", "kept"),
        (["TRUE", "FALSE", None, "TRUE"] * 10, "boolean", "kept"),
        (["f", "m"] * 20, "category", "one-hot"),
        (pd.Categorical(["f", "m"] * 20), "category", "one-hot"),
        (pd.Categorical([1, 2] * 20), "category", "one-hot"),
        (["1", "two"] * 20, "category", "one-hot"),
        (["no", "1"] * 20, "category", "one-hot"),
        ([3] * N, "constant", "kept"),
        (["x"] * N, "constant", "left out"),
        ([None] * N, "constant", "left out"),
        (range(N), "id", "ids"),
        (range(N, 0, -1), "id", "ids"),
        ([f"C{i:03}" for i in RNG.permutation(N)], "id", "ids"),
    ],
)
def test_kinds(values, kind, action):
    found = column(values)
    assert (found.kind, found.action) == (kind, action)
    assert found.n_missing == pd.isna(pd.Series(values).replace("NA", None)).sum()


@pytest.mark.parametrize(
    "values",
    [
        pd.date_range("2021-01-01", periods=N),
        [f"2021-01-{1 + i % 28:02}" for i in range(N)],
        [f"{1 + i % 28}.1.2021" for i in range(N)],
        [f"1/{1 + i % 28}/21" for i in range(N)],
        [f"2021-01-{1 + i % 28:02}T10:00:00Z" for i in range(N)],
        [f"{1 + i % 28}-Jan-2021" for i in range(N)],
        [f"March {1 + i % 28}, 2021" for i in range(N)],
        [f"10:{i:02}:00" for i in range(N)],
    ],
)
def test_dates_are_refused_by_name(values):
    with pytest.raises(ValueError, match=r"got 'c' \(dates\): leave out what is not a feature \(drop: c\)"):
        column(values)
    assert column(values, drop="c").action == "left out"


@pytest.mark.parametrize(
    "values", [[f"a word {i}" for i in range(N)], [f"{i % 30}th street" for i in range(N)], ["x" * 201, "y"] * 20]
)
def test_text_is_refused_by_name(values):
    with pytest.raises(ValueError, match=r"got 'c' \(free text\): leave out what is not a feature \(drop: c\)"):
        column(values)
    assert column(values, drop="c").action == "left out"
    assert column(values, columns="size").action == "left out"


@pytest.mark.parametrize(
    "name",
    [
        "id",
        "ID",
        "CustomerID",
        "customer number",
        "Customer No.",
        "user_id",
        "PassengerId",
        "index",
        "Unnamed: 0",
        "Nr.",
    ],
)
def test_numbers_named_as_ids(name):
    values = 100_000 + RNG.permutation(N) * 7
    assert column(values, name).action == "ids"
    assert column(values, name, columns=(name, "size")).action == "kept"
    assert column(values // 100, name).action == "kept"


@pytest.mark.parametrize("name", ["humid", "paid", "valid", "width"])
def test_numbers_with_other_names(name):
    assert column(100_000 + RNG.permutation(N) * 7, name).action == "kept"


def test_the_first_column_may_number_the_samples_with_gaps():
    rising = np.cumsum(RNG.integers(1, 9, N))
    assert column(rising, "customer", position=0).action == "ids"
    assert column(rising, "customer", position=1).action == "kept"
    assert column(rising + 0.5, "customer", position=0).action == "kept"


@pytest.mark.parametrize("values", [range(N), range(7, 7 + N), [f"row {i}" for i in range(N)], RNG.permutation(N)])
def test_a_first_column_without_a_name_is_an_index(values):
    assert column(values, "", position=0).kind == "index"
    assert column(values, "", position=0).action == "ids"


def test_the_only_column_is_a_feature():
    (only,) = decide(pd.DataFrame({"size": range(N)}), TableOptions())
    assert (only.kind, only.action) == ("number", "kept")


def test_the_users_choice_of_id_comes_first():
    frame = pd.DataFrame({"": range(N), "code": list("ab") * 20, "size": SIZE})
    assert [c.action for c in decide(frame, TableOptions(id_column="code"))] == ["left out", "ids", "kept"]


def test_sentinels_count_as_missing_values():
    found = column([1.0, 999, 3, 5], missing_values=999)
    assert (found.n_missing, found.fill) == (1, 3)


@pytest.mark.parametrize("option", ["columns", "drop", "id_column", "label_column"])
def test_a_column_that_does_not_exist(option):
    with pytest.raises(ValueError, match=f"unknown column in {option} 'sizes'; did you mean 'size'"):
        column(SIZE, **{option: "sizes"})


def test_infinite_numbers_are_refused_by_name():
    with pytest.raises(ValueError, match="column 'c' must be finite, got inf in row 2"):
        column([1.0, 2.0, np.inf, 3.0])


@pytest.mark.parametrize("word", ["error", "n/d", "1,5", "<0.1", "''"])
def test_a_word_among_numbers_is_named(word):
    values = [repr(float(size)) for size in SIZE]
    values[3] = word
    with pytest.raises(ValueError, match=f"got 'c' .numbers, and words such as [\"']{word}"):
        column(values)


def test_a_few_numbers_beside_a_word_are_categories():
    assert column(["1", "2", "3+", "2"] * 10).action == "one-hot"


@pytest.mark.parametrize("pattern", ["{}%", "${}", "{} kg", "€ {},000", "1.{},5"])
def test_numbers_with_a_unit_are_no_categories(pattern):
    values = [pattern.format(10 + i % 15) for i in range(N)]
    with pytest.raises(ValueError, match="numbers with a unit, such as"):
        column(values)
