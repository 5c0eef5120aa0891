"""Studies made of parts.

A part is a module ``_x_y.py`` with a ``Config`` and a ``Result`` of its own, and

- ``work(config) -> float``, the seconds it takes, roughly;
- ``run(config, key, tick) -> Result``, where ``tick(share)`` tells of finished work;
- ``check(result)`` and ``metrics(result)`` as in a study;
- ``plot(result)``, one figure or several by name.

The study's ``Config`` and ``Result`` have a field for each part, of its name.
"""

from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import jax

from experiments._figures import Plot
from experiments._findings import Finding
from jaxdl.progress import bar

Parts = Mapping[str, ModuleType]


def check_seed(seed: int) -> None:
    """Reject a seed that is no key.

    Args:
        seed: Of a study.

    Raises:
        ValueError: If it is out of range.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must lie in 0..2**32 - 1, got {seed}")


def run(study: str, parts: Parts, config: Any) -> dict[str, Any]:
    """Run one part after the other, each with a key of its own, under one bar.

    Args:
        study: Its name, for the bar.
        parts: Modules by name.
        config: The study's, with its ``seed``.

    Returns:
        The results by name.
    """
    keys = jax.random.split(jax.random.key(config.seed), len(parts))
    works = [part.work(getattr(config, name)) for name, part in parts.items()]
    results = {}
    with bar(sum(works), study) as drawn:
        for (name, part), work, key in zip(parts.items(), works, keys, strict=True):

            def tick(share: float, work: float = work):
                drawn.update(share * work)

            results[name] = part.run(getattr(config, name), key, tick)
    return results


def check(parts: Parts, result: Any) -> list[Finding]:
    """The findings of all parts.

    Args:
        parts: Modules by name.
        result: The study's.

    Returns:
        In the order of the parts.
    """
    return [
        finding
        for name, part in parts.items()
        for finding in part.check(getattr(result, name))
    ]


def plot(parts: Parts, result: Any) -> dict[str, Plot]:
    """The figures of all parts; one alone has the name of its part.

    Args:
        parts: Modules by name.
        result: The study's.

    Returns:
        In the order of the parts.
    """
    plots = {}
    for name, part in parts.items():
        drawn = part.plot(getattr(result, name))
        plots |= {name: drawn} if isinstance(drawn, Plot) else drawn
    return plots


def metrics(parts: Parts, result: Any) -> Iterator[dict]:
    """The rows of all parts.

    Args:
        parts: Modules by name.
        result: The study's.

    Yields:
        In the order of the parts.
    """
    for name, part in parts.items():
        yield from part.metrics(getattr(result, name))
