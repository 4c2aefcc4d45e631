"""The built-in synthetic world and the books that narrate it.

It says nothing about real text: results on it show that the machinery works.
"""

from gpt1_jax.data.storyworld.books import VERSION, book_text, write_books
from gpt1_jax.data.storyworld.lexicon import Lexicon
from gpt1_jax.data.storyworld.world import Person, Spot, World, make_world

__all__ = [
    "VERSION",
    "Lexicon",
    "Person",
    "Spot",
    "World",
    "book_text",
    "make_world",
    "write_books",
]
