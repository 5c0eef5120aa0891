"""The matching benchmark on tiny networks."""

import jax
import numpy as np

from benchmarks import matching
from jaxdl import tree
from jaxdl.landscape import act, mlp_symmetry, random_element
from jaxdl.models import mlp


def test_the_plain_program_finds_what_is_planted():
    params = mlp.init(jax.random.key(0), (9, 13, 11, 12, 4))
    symmetry = mlp_symmetry(params, "gelu")
    planted = act(symmetry, random_element(jax.random.key(1), symmetry), params)
    value = matching.plain(params, planted, np.random.default_rng(0))
    np.testing.assert_allclose(value, tree.dot(params, params), rtol=1e-5)
    seconds, found, theirs = matching.compare(symmetry, (params, planted), 2)
    assert seconds.shape == (2, 2)
    assert (seconds > 0).all()
    np.testing.assert_allclose([found.objective, *theirs], value, rtol=1e-5)
