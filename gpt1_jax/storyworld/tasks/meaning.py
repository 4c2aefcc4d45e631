"""What the tasks ask about words: kinds of things, opposites, the usual case.

Where a label is a relation of two words, one of them is usually of one class: as in
real data, and so that a small model learns the relation from a few hundred rows.
"""

from gpt1_jax.storyworld import lexicon
from gpt1_jax.storyworld.narration import sentence
from gpt1_jax.storyworld.tasks.draws import Cast

# The feelings with their opposites, the good ones first.
OPPOSITES = (("happy", "sad"), ("brave", "afraid"), ("calm", "angry"))

_VERBS = ("saw",)  # a tool, but mostly what somebody did
_KINDS = ("fish", "bird", "insect", "fruit", "vegetable", "tree", "flower", "tool")
KINDS = {
    kind: tuple(word for word in lexicon.KINDS[kind] if word not in _VERBS)
    for kind in _KINDS
} | {"stray": lexicon.POOLS["stray"]}

_UNUSUAL_EVERY = 6


def is_usual(cast: Cast) -> bool:
    """Five times in six."""
    return cast.dice.below(_UNUSUAL_EVERY) > 0


def alike(cast: Cast, *heads: str) -> str:
    """A word that means the same as one of `heads`."""
    return cast.dice.pick(lexicon.alike(cast.dice.any(heads)))


def thing(cast: Cast, *kinds: str) -> str:
    """A thing of one of the kinds."""
    return cast.dice.pick(KINDS[cast.dice.any(kinds)])


def tell(cast: Cast, *frames: str, **roles: object) -> tuple[str, ...]:
    """Each frame as a sentence of the same cast."""
    scene = cast.with_roles(**roles)
    return tuple(sentence(frame, scene) for frame in frames)
