"""Points as numbers, against itertools."""

import itertools
import json

import jax
import numpy as np
import pytest

from jaxdl.sweep import columns, masked, product, shapes, values, zipped
from jaxdl.sweep.grid import describe, from_plain, to_plain

A, B, C = [0.5, 1.5], ["x", "y", "z"], [3, 1, 4, 1]
GRID = product(values("a", A), zipped(shapes("b", B), values("b2", [7, 8, 9])))


def test_a_product_is_in_the_order_of_itertools():
    grid = product(values("a", A), shapes("b", B), values("c", C))
    expected = list(itertools.product(A, B, C))
    assert len(grid) == len(expected)
    found = columns(grid, np.arange(len(grid)))
    assert list(zip(*found.values(), strict=True)) == expected
    assert list(found) == ["a", "b", "c"]


def test_zips_of_products_and_products_of_zips():
    inner = product(values("d", [1, 2]), values("e", [3, 4, 5]))
    grid = product(values("a", A), zipped(inner, values("f", range(6))))
    found = columns(grid, np.arange(12))
    rows = zip(*(found[name].tolist() for name in "adef"), strict=True)
    pairs = list(itertools.product([1, 2], [3, 4, 5]))
    assert list(rows) == [(a, *pairs[i], i) for a in A for i in range(6)]


def test_values_of_a_point_do_not_depend_on_which_are_asked_for():
    numbers = np.array([5, 0, 3])
    some, everything = columns(GRID, numbers), columns(GRID, np.arange(6))
    for name, column in some.items():
        np.testing.assert_array_equal(column, everything[name][numbers])


def test_values_may_be_arrays():
    of = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(columns(values("a", of), np.array([2]))["a"], of[2:])


def test_values_have_the_dtypes_of_jax():
    assert values("a", [1.0]).levels.dtype == np.float32
    with jax.enable_x64(True):
        assert values("a", [1.0]).levels.dtype == np.float64


def test_shapes_that_are_equal_in_python_only_are_different():
    axis = shapes("n", [1, 1.0, True, 1])
    assert [type(level) for level in axis.levels] == [int, float, bool]
    assert len(axis) == 4


def test_masked_sizes_share_powers_of_two():
    found = columns(masked("n", [1, 2, 3, 8, 9], "top"), np.arange(5))
    np.testing.assert_array_equal(found["n"], [1, 2, 3, 8, 9])
    np.testing.assert_array_equal(found["top"], [1, 2, 4, 8, 16])


def test_a_sweep_comes_back_from_json():
    grid = product(GRID, shapes("t", [(1, (2, "u")), None]))
    plain, arrays = to_plain(grid)
    again = from_plain(json.loads(json.dumps(plain)), arrays)
    assert describe(again) == describe(grid)
    for name, column in columns(grid, np.arange(12)).items():
        assert column.tolist() == columns(again, np.arange(12))[name].tolist()


def test_descriptions_differ_where_sweeps_do():
    one = describe(values("a", [1.0, 2.0]))
    assert one != describe(values("a", [1.0, 2.5]))
    assert one != describe(values("a", [1, 2]))
    assert describe(shapes("a", [1, 2, 1])) != describe(shapes("a", [1, 2, 2]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: values("a b", [1]), "name must be"),
        (lambda: values("key", [1]), "name must be"),
        (lambda: values("a", []), "axis a must have numbers"),
        (lambda: values("a", ["u"]), "use shapes"),
        (lambda: values("a", 3.0), "axis a must have numbers"),
        (lambda: values("a", [2**40]), "integers that int32 holds"),
        (lambda: shapes("a", []), "at least one"),
        (lambda: shapes("a", [np.ones(2)]), "texts, None or tuples"),
        (lambda: masked("a", [0], "b"), "positive integers, got 0"),
        (lambda: product(), "one or more axes"),
        (lambda: product([1, 2]), "one or more axes"),
        (lambda: product(values("a", A), values("a", A)), "different names"),
        (lambda: zipped(values("a", A), values("c", C)), "one length"),
        (
            lambda: product(*(values(f"a{i}", range(2**16)) for i in range(2))),
            r"fewer than 2\*\*32",
        ),
    ],
)
def test_what_is_no_sweep(make, message):
    with pytest.raises(ValueError, match=message):
        make()
