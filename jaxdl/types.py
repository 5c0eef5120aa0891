"""The aliases that signatures share."""

from collections.abc import Callable
from typing import Any

import jax

Array = jax.Array
Key = jax.Array
"""A typed PRNG key, from ``jax.random.key``."""

Scalar = float | int | jax.Array
"""A Python number, which is checked, or a ``()`` array, which may be traced."""

Params = Any
"""Any pytree of arrays."""

Schedule = Callable[[Array], Array]
"""From the count of updates done so far, ``()`` int32, to a value."""
