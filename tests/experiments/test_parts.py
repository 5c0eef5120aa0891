"""Studies made of parts: keys, progress, names."""

from contextlib import contextmanager
from types import SimpleNamespace

import jax
import pytest

from experiments import _parts
from experiments._figures import Plot, figure

CONFIG = SimpleNamespace(seed=3, slow=30.0, fast=10.0)


def part(plots):
    def run(config, key, tick):
        tick(0.25)
        tick(0.75)
        return config, tuple(jax.random.key_data(key).tolist())

    return SimpleNamespace(
        work=lambda config: config,
        run=run,
        check=lambda result: [result[0]],
        plot=lambda result: plots,
        metrics=lambda result: iter([{"seconds": result[0]}]),
    )


ONE = Plot(figure()[0], "caption", "alt")
PARTS = {"slow": part(ONE), "fast": part({"a": ONE, "b": ONE})}


def test_parts_have_keys_of_their_own_and_their_share_of_the_bar(monkeypatch):
    told = []

    @contextmanager
    def bar(total, label):
        told.append((total, label))
        yield SimpleNamespace(update=told.append)

    monkeypatch.setattr(_parts, "bar", bar)
    results = _parts.run("study", PARTS, CONFIG)
    assert told == [(40.0, "study"), 7.5, 22.5, 2.5, 7.5]
    assert [results[name][0] for name in ("slow", "fast")] == [30.0, 10.0]
    keys = jax.random.key_data(jax.random.split(jax.random.key(3), 2)).tolist()
    assert [list(results[name][1]) for name in ("slow", "fast")] == keys


def test_findings_figures_and_rows_are_joined():
    result = SimpleNamespace(slow=(30.0, ()), fast=(10.0, ()))
    assert _parts.check(PARTS, result) == [30.0, 10.0]
    assert [*_parts.plot(PARTS, result)] == ["slow", "a", "b"]
    assert [row["seconds"] for row in _parts.metrics(PARTS, result)] == [30.0, 10.0]


def test_a_seed_is_checked():
    for seed in (0, 2**32 - 1):
        _parts.check_seed(seed)
    for seed in (-1, 2**32):
        with pytest.raises(ValueError, match="seed must lie in"):
            _parts.check_seed(seed)
