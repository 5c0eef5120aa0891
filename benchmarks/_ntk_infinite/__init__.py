"""The benchmark of infinite width: problem, reference, and a module for each tool."""
