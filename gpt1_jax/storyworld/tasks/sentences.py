"""Tasks about one sentence: is it well formed, is it a good thing that it says."""

from gpt1_jax.storyworld import texts
from gpt1_jax.storyworld.tasks.rows import Cast, Label, Task, TextsOf

_TASKS = texts.load("tasks")
_PLACES = _TASKS["cola"]
_GOOD, _BAD = _TASKS["adjectives"]["good"], _TASKS["adjectives"]["bad"]
_NOUNS = ("fish", "bird", "insect", "fruit", "vegetable", "tree", "flower", "tool")


def _acceptability(cast: Cast) -> TextsOf:
    """A sentence with an adjective or noun, in its own place (1) or the other's (0)."""
    is_usual = cast.dice.is_usual()
    frame = cast.dice.any(_PLACES["adjective_places" if is_usual else "noun_places"])

    def sentence(label: Label) -> tuple[str, ...]:
        is_adjective = is_usual == bool(label)
        word = cast.alike(*_GOOD, *_BAD) if is_adjective else cast.thing(*_NOUNS)
        return cast.tell(frame, word=word)

    return sentence


COLA = Task((0, 1), _acceptability)


def _sentiment(cast: Cast) -> TextsOf:
    """The same sentence says something good (1) or bad (0)."""
    is_of_person = cast.dice.is_usual()
    frames = _PLACES["adjective_places"] if is_of_person else _TASKS["sst2"]["of_food"]
    frame = cast.dice.any(frames)
    good, bad = (_GOOD, _BAD) if is_of_person else (["delicious"], ["awful"])
    return lambda label: cast.tell(frame, word=cast.alike(*(good if label else bad)))


SST2 = Task((0, 1), _sentiment)
