"""Plans: every point once, in batches of one size, under the budget."""

import time
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.sweep import plan, product, shapes, values
from jaxdl.sweep.plan import group


def scalar(key, x, **rest):
    return x


def ones(key, n, x):
    return jnp.sum(jnp.outer(x * jnp.ones(n), jnp.ones(n)) @ jnp.ones(n))


GRID = product(values("x", np.linspace(0, 1, 7)), shapes("n", [2, 30, 2]))


@pytest.mark.parametrize("n_shards", [1, 3])
def test_every_point_is_in_one_batch_of_one_shard(n_shards):
    seen = []
    for i in range(n_shards):
        planned = plan(ones, GRID, batch_size=4, shard=(i, n_shards))
        for k, bucket in enumerate(planned.buckets):
            for number in planned.batches(k):
                batch = planned.batch(number)
                assert (batch.number, batch.bucket) == (number, k)
                assert number % n_shards == i
                assert 0 < len(batch.points) <= bucket.batch_size == 4
                seen += batch.points.tolist()
    assert sorted(seen) == list(range(21))


def test_buckets_are_points_of_equal_shapes_in_order():
    order, buckets = group(GRID)
    assert [bucket.shapes for bucket in buckets] == [{"n": 2}, {"n": 30}]
    assert [bucket.n_points for bucket in buckets] == [14, 7]
    expected = [i for i in range(21) if i % 3 != 1] + list(range(1, 21, 3))
    assert order.tolist() == expected


def test_batches_need_at_most_the_budget():
    free = plan(ones, GRID)
    assert [bucket.batch_size for bucket in free.buckets] == [14, 7]
    budget = free.buckets[1].memory // 2
    small = plan(ones, GRID, memory=budget)
    assert small.buckets[0].batch_size == 14
    assert 0 < small.buckets[1].memory <= budget
    assert small.buckets[1].batch_size < 7


def test_a_point_that_is_too_big_fails_in_the_plan():
    planned = plan(ones, GRID, memory=20)
    assert "memory is 20" in planned.buckets[1].failed


def test_batches_keep_shards_busy():
    assert plan(ones, GRID, shard=(0, 2)).buckets[0].batch_size == 7


def test_the_plan_in_words():
    def fails(key, n, x):
        if n == 30:
            raise TypeError("thirty")
        return x

    text = str(plan(fails, GRID, batch_size=4, shard=(1, 2), estimate=True))
    assert "21 points, 2 programs, 6 batches" in text
    assert "shard 1 of 2: 3 batches" in text
    assert "n=2: 14 points in 4 batches of 4" in text
    assert "FAILS: TypeError: thirty" in text
    assert "estimate: " in text


def test_many_points_are_planned_in_seconds_and_little_memory():
    grid = product(
        shapes("n", [2, 3]),
        values("x", np.linspace(0, 1, 500)),
        values("s", range(100)),
    )
    tracemalloc.start()
    start = time.process_time()
    order, buckets = group(grid)
    seconds = time.process_time() - start
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(order) == 100_000
    assert len(buckets) == 2
    assert seconds < 1
    assert most < 20e6  # some arrays of 0.8 MB
    start = time.process_time()
    assert plan(scalar, grid).n_batches == 98
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be a positive integer"),
        ({"memory": -1}, "memory must be a positive integer"),
        ({"method": "loop"}, "method must be"),
        ({"shard": (2, 2)}, "shard must be"),
        ({"shard": 1}, "shard must be"),
        ({"sweep": [1]}, "sweep must be of axes"),
        ({"point": 3}, "point must be a function"),
    ],
)
def test_what_cannot_be_planned(arguments, message):
    with pytest.raises(ValueError, match=message):
        plan(**{"point": scalar, "sweep": values("x", [1.0]), **arguments})


def test_metrics_must_not_depend_on_shapes():
    with pytest.raises(ValueError, match="same metrics for all shapes"):
        plan(lambda key, n, x: jnp.ones(n), GRID)


def test_metrics_must_not_have_the_names_of_axes():
    with pytest.raises(ValueError, match="name a metric"):
        plan(lambda key, n, x: {"x": x}, GRID)
