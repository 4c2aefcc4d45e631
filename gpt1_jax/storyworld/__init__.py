"""The built-in synthetic world, the books that narrate it, the tasks about it.

It says nothing about real text: results on it show that the machinery works.
"""

from gpt1_jax.storyworld.books import write_books
from gpt1_jax.storyworld.tasks import write_tasks

# Grows whenever the same arguments come to give other bytes: caches carry it.
VERSION = 3

__all__ = ["VERSION", "write_books", "write_tasks"]
