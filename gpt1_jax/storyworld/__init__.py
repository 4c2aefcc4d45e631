"""The built-in synthetic world, the books that narrate it, the tasks about it.

It says nothing about real text: results on it show that the machinery works.
"""

from gpt1_jax.storyworld.books import VERSION, book_text, write_books
from gpt1_jax.storyworld.lexicon import Lexicon
from gpt1_jax.storyworld.tasks import TASKS_VERSION, write_tasks
from gpt1_jax.storyworld.world import Person, Spot, World, make_world

__all__ = [
    "TASKS_VERSION",
    "VERSION",
    "Lexicon",
    "Person",
    "Spot",
    "World",
    "book_text",
    "make_world",
    "write_books",
    "write_tasks",
]
