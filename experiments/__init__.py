"""Runnable configs; --config experiments/NAME.py finds them from any directory."""
