"""Tasks with answers to choose from: questions, ends of stories, referents.

The rows of a group have the same answers in the same order, and each of them is right
once: who sees the answers alone cannot tell the right one.
"""

from gpt1_jax.storyworld import texts
from gpt1_jax.storyworld.tasks.rows import Cast, Label, Task, TextsOf

_TASKS = texts.load("tasks")
_NOUNS, _STORIES = _TASKS["nouns"], _TASKS["stories"]


def _reading(cast: Cast) -> TextsOf:
    """An article of four sentences, a question, and four feelings to answer it.

    The right answer stands at A, B, C or D.
    """
    dice, frames = cast.dice, _TASKS["race"]
    moods = dice.shuffled(_STORIES)
    answers = [cast.alike(mood) for mood in moods]

    def row(label: Label) -> tuple[str, ...]:
        story = dice.any(_STORIES[moods["ABCD".index(str(label))]])
        told = dice.any(frames["openings"]), *map(dice.any, story)
        article = cast.tell(*told, weather=dice.any(frames["weather"]))
        question = cast.tell(dice.any(frames["questions"]))
        return " ".join(article), *question, *answers

    return row


RACE = Task(("A", "B", "C", "D"), _reading)


def _story(cast: Cast) -> TextsOf:
    """Four sentences and two ends: how it made somebody feel, how it did not."""
    dice, frames = cast.dice, _TASKS["story_cloze"]
    moods = dice.shuffled(("happy", "sad"))
    ending = dice.any(frames["endings"])
    ends = [cast.tell(ending, feeling=cast.alike(mood))[0] for mood in moods]

    def row(label: Label) -> tuple[str, ...]:
        story = dice.any(_STORIES[moods[int(label) - 1]])
        told = dice.any(frames["beginnings"]), *map(dice.any, story)
        return *cast.tell(*told), *ends

    return row


STORY_CLOZE = Task((1, 2), _story)


def _definite(cast: Cast) -> TextsOf:
    """Sentence, pronoun, candidates, and the one meant: the first (0) or second (1)."""
    return _people(cast) if cast.dice.below(2) else _things(cast)


def _people(cast: Cast) -> TextsOf:
    """A woman and a man: the pronoun is the one's or the other's."""
    dice, frames = cast.dice, _TASKS["dpr"]
    pair = [
        dice.pick([p for p in cast.world.people if p.is_female is is_female])
        for is_female in dice.shuffled((True, False))
    ]

    def row(label: Label) -> tuple[str, ...]:
        meant = pair[int(label)]
        frame = (
            f"{dice.any(frames['meetings'])}, because {dice.any(frames['of_people'])}."
        )
        told = cast.tell(frame, one=pair[0], other=pair[1], meant=meant)
        return *told, meant.she, f"{pair[0]},{pair[1]}", meant.name

    return row


def _things(cast: Cast) -> TextsOf:
    """Things of two sorts: what is said of `it` is true of one sort only."""
    dice, claims = cast.dice, _TASKS["dpr"]["of_things"]
    pair = dice.shuffled(claims)[:2]
    one, other = (cast.thing(*_NOUNS[claims[claim]]) for claim in pair)
    names = f"the {one}", f"the {other}"

    def row(label: Label) -> tuple[str, ...]:
        together = dice.any(_TASKS["pronouns"]["together"])
        told = cast.tell(
            f"{together}, because {pair[int(label)]}.", one=one, other=other
        )
        return *told, "it", ",".join(names), names[int(label)]

    return row


DPR = Task((0, 1), _definite)
