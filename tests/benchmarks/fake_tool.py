"""A tool for the tests: it doubles numbers, badly at low effort."""

import gc
import os
import time

import numpy as np

PACKAGES = ("numpy",)


def prepare(problem):
    return problem["x"]


def ladders(row, facts):
    return {
        "double": {
            "exact": [{"digits": d} for d in facts["digits"]],
            "hopeless": [{"digits": 0}],
        },
        "crash": {"": [{}]},
        "raise": {"": [{}]},
        "sleep": {"": [{}]},
        "allocate": {"": [{"megabytes": 30}]},
    }[row]


def _double(x, setting):
    def work():
        print("this goes to the log")
        return np.round(2 * x, setting["digits"]) + 0 * setting["seed"]

    return work, lambda found: {"doubled": found, "pid": os.getpid()}


def _truth(x, setting):
    return lambda: 2 * x, lambda found: {"doubled": found}


def _crash(x, setting):
    return lambda: os._exit(3), dict


def _raise(x, setting):
    raise RuntimeError("out of luck")


def _sleep(x, setting):
    return lambda: time.sleep(60), dict


def _allocate(x, setting):
    def work():
        gc.collect()  # as may happen at any time, and JAX does
        ones = np.ones(setting["megabytes"] << 17)
        cycle: list = [ones + ones]
        cycle.append(cycle)
        return cycle

    return work, lambda found: {"doubled": found[0][:2]}


ROWS = {
    "double": _double,
    "truth": _truth,
    "crash": _crash,
    "raise": _raise,
    "sleep": _sleep,
    "allocate": _allocate,
}
