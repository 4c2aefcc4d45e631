"""Tasks about two texts: do they mean the same, and how nearly."""

from gpt1_jax.storyworld import lexicon
from gpt1_jax.storyworld.narration import sentence
from gpt1_jax.storyworld.tasks.draws import Cast, Label, Task
from gpt1_jax.storyworld.tasks.meaning import (
    KINDS,
    OPPOSITES,
    alike,
    is_usual,
    tell,
    thing,
)

_MOMENTS = (
    "in the evening",
    "that morning",
    "at home in {hero.village}",
    "{spot.at}",
    "all the way home",
)


def _paraphrase(cast: Cast, label: Label) -> tuple[str, ...]:
    """The same moment told twice: by a word that means the same, or by an opposite."""
    good, bad = cast.dice.any(OPPOSITES)
    first, opposite = (good, bad) if is_usual(cast) else (bad, good)
    one, same = cast.dice.two(lexicon.alike(first))
    moment = cast.dice.any(_MOMENTS)
    return tell(
        cast,
        f"{{hero}} was {{one}} {moment}.",
        f"{moment} {{hero}} was {{other}}.",
        one=one,
        other=same if label else alike(cast, opposite),
    )


MRPC = Task((0, 1), _paraphrase)

_QUESTIONS = (
    ("Where did {hero} see the {thing}?", "Where was {what} that {hero.she} saw?"),
    ("Who gave the {thing} to {hero}?", "Who gave {hero.him} {what}?"),
    ("Did {hero} look for {thing:a}?", "Was {hero.she} looking for {what}?"),
    ("What did {hero} do with {thing:a}?", "What did {hero.she} do with {what}?"),
    ("Is {thing:a} what {hero} wanted?", "Did {hero.she} want {what}?"),
    ("Was the {thing} {spot.at}?", "Was there {what} {spot.at}?"),
)
_ANIMALS = ("fish", "bird", "insect")
_PLANTS = ("tree", "flower")


def _duplicate(cast: Cast, label: Label) -> tuple[str, ...]:
    """A question about a thing asked again, usually about an animal: was it one?"""
    asks_for_animal = is_usual(cast)
    is_animal = asks_for_animal == bool(label)
    others = (*_PLANTS, "tool", "fruit") if asks_for_animal else _PLANTS
    return tell(
        cast,
        *cast.dice.any(_QUESTIONS),
        thing=thing(cast, *(_ANIMALS if is_animal else others)),
        what="an animal" if asks_for_animal else "a plant",
    )


# As in the official data, three of eight are duplicates.
QQP = Task((1, 0, 0, 1, 0, 0, 1, 0), _duplicate)

_SIGHTS = (
    "{hero} saw {thing:a} {spot.at}.",
    "{hero} looked at {thing:a} {spot.at}.",
    "{spot.at} {hero} found {thing:a}.",
    "{hero} thought of {thing:a} {spot.at}.",
)


def _graded(cast: Cast, label: Label) -> tuple[str, ...]:
    """Sights of an animal and it (5), its kind (4), another (3), a plant (1), else."""
    dice, grade = cast.dice, round(float(label))
    kind, other_kind = dice.shuffled(_ANIMALS)[:2]
    one, alike_one = dice.two(KINDS[kind])
    other = {
        5: lambda: one,
        4: lambda: alike_one,
        3: lambda: thing(cast, other_kind),
        1: lambda: thing(cast, "tree", "flower"),
        0: lambda: thing(cast, "tool", "fruit", "vegetable"),
    }[grade]()
    frames = dice.any(_SIGHTS), dice.any(_SIGHTS)
    return tuple(
        sentence(frame, cast.with_roles(thing=seen))
        for frame, seen in zip(frames, dice.shuffled((one, other)), strict=True)
    )


STSB = Task((5.0, 0.0, 4.0, 0.2, 3.8, 1.0, 3.2, 0.4, 2.8, 1.2), _graded)
