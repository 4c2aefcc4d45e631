"""Tasks about one sentence: is it well formed, is it a good thing that it says."""

from gpt1_jax.storyworld.tasks.draws import Cast, Label, Task
from gpt1_jax.storyworld.tasks.meaning import KINDS, alike, is_usual, tell, thing

_GOOD = ("happy", "brave", "calm", "clever", "kind", "polite", "lively")
_BAD = ("sad", "afraid", "angry", "tired", "foolish", "rude")

_OF_PEOPLE = (
    "{hero} was very {word}.",
    "{friend} saw that {hero} was {word}.",
    "Everybody says that {hero} is {word}.",
    '"I am so {word}," said {hero}.',
    '"How {word} you are!" said {hero} to {friend}.',
    "{hero} was so {word} that {hero.she} did not say anything.",
    "At home in {hero.village} {hero} was {word}.",
    "{hero} told {hero.pet_name} about {friend}, who was {word}.",
)
_OF_FOOD = (
    "{hero} ate {fruit:a} and thought that it was {word}.",
    "The {vegetable} of {friend} was {word}.",
    '"How {word} this {fruit} is!" said {friend}.',
)
_NOUN_PLACES = (
    "{hero} saw the {word} {spot.at}.",
    "{friend} told {hero} about the {word}.",
    "They could not forget the {word}.",
    '"Here is the {word}," said {hero} to {friend}.',
)


def _acceptability(cast: Cast, label: Label) -> tuple[str, ...]:
    """A sentence with an adjective or noun, in its own place (1) or the other's (0)."""
    has_adjective_place = is_usual(cast)
    frame = cast.dice.any(_OF_PEOPLE if has_adjective_place else _NOUN_PLACES)
    is_adjective = has_adjective_place == bool(label)
    word = alike(cast, *_GOOD, *_BAD) if is_adjective else thing(cast, *KINDS)
    return tell(cast, frame, word=word)


COLA = Task((0, 1), _acceptability)


def _sentiment(cast: Cast, label: Label) -> tuple[str, ...]:
    """What is said is good (1) or bad (0); the same sentences say both."""
    frames: tuple[str, ...]
    heads: tuple[str, ...]
    if is_usual(cast):
        frames, heads = _OF_PEOPLE, _GOOD if label else _BAD
    else:
        frames, heads = _OF_FOOD, ("delicious",) if label else ("awful",)
    return tell(cast, cast.dice.any(frames), word=alike(cast, *heads))


SST2 = Task((0, 1), _sentiment)
