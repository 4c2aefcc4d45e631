"""Runnable configs, a file each; --config experiments/NAME.py finds them anywhere."""
