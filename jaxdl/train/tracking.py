"""Measure the parameters along a training run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from jaxdl.train.drive import Snapshot
from jaxdl.types import Params


@dataclass
class Tracker:
    """A callback for `fit` that measures the parameters and keeps what it finds.

    What is measured is any function of the parameters, such as the sharpness of the
    loss or a kernel. Programs it compiles are compiled once for all calls, if it makes
    no new functions between them: `jaxdl.curvature` compiles for the loss it is given.

    Attributes:
        measure: ``measure(params) -> tree`` of arrays, of the same shapes at each call.
            In an ensemble it gets the parameters of all members.
        steps: Updates done at each measurement.
        values: What was found, as NumPy arrays.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxdl import optim, train
        >>> def loss(w, state, batch, key):
        ...     return jnp.sum(w**2) * jnp.mean(batch) / 2, (state, {})
        >>> tracker = train.Tracker(jnp.abs)
        >>> run = train.fit(
        ...     jax.random.key(0), loss, jnp.array(8.0), optim.sgd(0.5), jnp.ones(1),
        ...     steps=4, chunk=2, callback=tracker,
        ... )
        >>> print(tracker.steps, tracker.stacked())
        [2, 4] [2.  0.5]
    """

    measure: Callable[[Params], Any]
    steps: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def __call__(self, snapshot: Snapshot) -> None:
        """Measure where training is.

        Args:
            snapshot: From `fit`.
        """
        found = self.measure(snapshot.params)
        self.steps.append(snapshot.step)
        self.values.append(jax.tree.map(np.asarray, jax.device_get(found)))

    def stacked(self) -> Any:
        """All measurements in one tree.

        Returns:
            A tree as ``measure`` returns it, with a first axis of measurements.

        Raises:
            ValueError: If nothing has been measured.
        """
        if not self.values:
            raise ValueError(
                "nothing has been measured: training saw no end of a chunk"
            )
        return jax.tree.map(lambda *rows: np.stack(rows), *self.values)
