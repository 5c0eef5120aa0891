"""Speed against other programs, as ratios measured in one run.

`_runner` starts a process for each tool, in that tool's own environment, and takes
turns between them; a benchmark says what the problem, the tools and the rows are, and
when an answer is good enough to be timed. ``python -m benchmarks.NAME --help``.
"""
