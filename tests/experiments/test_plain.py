import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from experiments._plain import arrays, row, to_json


class Pair(NamedTuple):
    x: np.ndarray
    y: float


@dataclass(frozen=True)
class Part:
    risk: np.ndarray
    note: str | None


@dataclass(frozen=True)
class Whole:
    n: int
    part: Part
    pair: Pair
    parts: tuple
    sizes: tuple
    table: dict
    names: tuple


WHOLE = Whole(
    n=3,
    part=Part(np.ones(2, np.float32), None),
    pair=Pair(np.zeros(1, bool), 0.5),
    parts=(Part(np.arange(2), "a"), np.ones((1, 2), np.complex64)),
    sizes=(1, 2.5),
    table={"a b": [np.ones(1), np.ones(2)]},
    names=("p", "qr"),
)


def test_arrays_have_dotted_names_and_keep_their_dtypes():
    found = dict(arrays(WHOLE))
    assert {name: (a.dtype.str[1:], a.shape) for name, a in found.items()} == {
        "n": ("i8", ()),
        "part.risk": ("f4", (2,)),
        "pair.x": ("b1", (1,)),
        "pair.y": ("f8", ()),
        "parts.0.risk": ("i8", (2,)),
        "parts.0.note": ("U1", ()),
        "parts.1": ("c8", (1, 2)),
        "sizes": ("f8", (2,)),
        "table.a b.0": ("f8", (1,)),
        "table.a b.1": ("f8", (2,)),
        "names": ("U2", (2,)),
    }
    np.testing.assert_array_equal(found["sizes"], [1, 2.5])


def test_arrays_takes_jax_arrays():
    assert dict(arrays({"x": jnp.ones(2)}))["x"].dtype == np.float32


@pytest.mark.parametrize("leaf", [object(), jnp.ones(2, jnp.bfloat16), {1, 2}])
def test_arrays_rejects_what_npz_cannot_hold(leaf):
    with pytest.raises(ValueError, match=r"a\.b: expected numbers or strings"):
        list(arrays({"a": {"b": leaf}}))


def test_json_of_a_configuration():
    part = Part(np.array([1.5, np.inf]), "é")
    value = {"p": part, "t": (1, True, None), "path": Path("a") / "b", "x": np.int8(3)}
    plain = to_json(value)
    assert plain == {
        "p": {"risk": [1.5, "inf"], "note": "é"},
        "t": [1, True, None],
        "path": str(Path("a") / "b"),
        "x": 3,
    }
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_json_rejects_other_types():
    with pytest.raises(ValueError, match="JSON has nothing for object"):
        to_json({"x": object()})


def test_a_row_has_null_where_a_number_is_not_finite():
    values = {"a": np.float32("nan"), "b": jnp.asarray(2.0), "c": "x", "d": -np.inf}
    assert row(values) == {"a": None, "b": 2.0, "c": "x", "d": None}
