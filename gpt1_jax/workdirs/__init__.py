"""Workdirs: the config, checkpoints, metrics and result of a run on disk."""
