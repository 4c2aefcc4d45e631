"""Tasks: rows, readers of official files, and records. No jax here."""
