"""The command line: flags, experiments, sweeps' grids, errors in one line."""
