"""Tasks: rows, readers of official files, and records. No jax here.

The names below are all that a task of the user's own needs; see docs/own_task.md.
"""

from gpt1_jax.data.tasks.examples import Columns, Example, Labels
from gpt1_jax.data.tasks.readers import (
    read_csv,
    read_jsonl,
    read_lines,
    read_tsv,
)
from gpt1_jax.data.tasks.registry import register
from gpt1_jax.data.tasks.task import File, Task

__all__ = [
    "Columns",
    "Example",
    "File",
    "Labels",
    "Task",
    "read_csv",
    "read_jsonl",
    "read_lines",
    "read_tsv",
    "register",
]
