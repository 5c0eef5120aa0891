import jax.numpy as jnp
import pytest

from jaxdl.optim.domains import not_a_count, outside


@pytest.mark.parametrize(
    ("domain", "good", "bad"),
    [
        ("[0, 1)", [0, 0.5], [-0.1, 1, 1.0]),
        ("[0, 1]", [0, 1], [-1, 1.1]),
        ("[0, inf)", [0, 7], [-1, float("inf")]),
        ("[0, inf]", [0, float("inf")], [-1]),
        ("(0, inf)", [1e-9], [0, 0.0, -1, float("inf")]),
        ("(0, inf]", [1e-9, float("inf")], [0, -1]),
        ("[1, inf)", [1, 2.5], [0.9, float("inf")]),
        ("(-inf, inf)", [-3, 0], [float("inf"), -float("inf")]),
    ],
)
def test_domains(domain, good, bad):
    for value in good:
        assert outside(domain, x=value) == ""
    for value in [*bad, float("nan")]:
        assert (
            outside(domain, y=good[0], x=value) == f"x must be in {domain}, got {value}"
        )


def test_counts():
    assert not_a_count(1, a=1, b=5) == ""
    for value in (0, 1.0, float("nan")):
        assert not_a_count(1, a=value) == f"a must be an integer >= 1, got {value}"


def test_arrays_and_others_are_not_looked_at():
    for value in (jnp.array(-1.0), None, jnp.negative):
        assert outside("[0, 1)", x=value) == ""
    assert not_a_count(1, a=jnp.array(0)) == ""
