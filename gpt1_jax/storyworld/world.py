"""The facts of the world, a pure function of the seed; no narration."""

import dataclasses
import functools
from collections.abc import Iterable

from gpt1_jax.storyworld.dice import Dice
from gpt1_jax.storyworld.lexicon import WORDS

_NUM_PEOPLE = 40  # even, so that everybody has one friend
_NUM_VILLAGES = 10
_WORLD_STREAM = 0  # the first entropy word apart from the books'


@dataclasses.dataclass(frozen=True)
class Person:
    """One inhabitant; `friend` is a name and mutual."""

    name: str
    is_female: bool
    village: str
    home: str
    job: str
    hobby: str
    trait: str
    likes: str
    dislikes: str
    fears: str
    pet: str
    pet_name: str
    treasure: str
    friend: str

    @property
    def she(self) -> str:
        return "she" if self.is_female else "he"

    @property
    def her(self) -> str:
        """The possessive, as in `her hat`."""
        return "her" if self.is_female else "his"

    @property
    def him(self) -> str:
        """The object, as in `with him`."""
        return "her" if self.is_female else "him"

    @property
    def work(self) -> str:
        """The work of the job, as in `to bake bread`."""
        return WORDS["jobs"][self.job]

    @property
    def portion(self) -> str:
        """The vessel in which the liked dish is served."""
        return WORDS["dishes"][self.likes]

    def __str__(self) -> str:
        return self.name


@dataclasses.dataclass(frozen=True)
class Spot:
    """A place outdoors that belongs to one village."""

    name: str
    preposition: str
    village: str

    @property
    def at(self) -> str:
        return f"{self.preposition} {self.name}"

    def __str__(self) -> str:
        return self.name


@dataclasses.dataclass(frozen=True)
class World:
    """People and places; everything that the books may assert."""

    people: tuple[Person, ...]
    spots: tuple[Spot, ...]

    @functools.cached_property
    def by_name(self) -> dict[str, Person]:
        return {person.name: person for person in self.people}

    def residents(self, village: str) -> tuple[Person, ...]:
        """Returns the people who live in `village`."""
        return tuple(person for person in self.people if person.village == village)


def make_world(seed: int) -> World:
    """Returns the world of `seed`.

    Args:    seed: an integer of at least 0.
    Raises:  ValueError for a negative seed.
    """
    if seed < 0:
        raise ValueError(f"seed {seed}; an integer >= 0 is allowed; choose another")
    dice = Dice(_WORLD_STREAM, seed)
    women = dice.shuffled(WORDS["women"])[: _NUM_PEOPLE // 2]
    men = dice.shuffled(WORDS["men"])[: _NUM_PEOPLE // 2]
    names = dice.shuffled(women + men)
    villages = dice.shuffled(WORDS["villages"])[:_NUM_VILLAGES]
    pet_names = dice.shuffled(WORDS["pet_names"])
    homes = _around(dice, WORDS["homes"])
    jobs = _around(dice, WORDS["jobs"])
    treasures = _around(dice, WORDS["treasures"])
    hobbies = _around(dice, WORDS["hobbies"])
    likes = _around(dice, WORDS["dishes"])
    people = tuple(
        Person(
            name=name,
            is_female=name in women,
            village=villages[i % _NUM_VILLAGES],
            home=homes[i],
            job=jobs[i],
            hobby=hobbies[i],
            trait=dice.pick(WORDS["traits"]),
            likes=likes[i],
            dislikes=dice.pick([dish for dish in WORDS["dishes"] if dish != likes[i]]),
            fears=dice.pick(WORDS["feared"]),
            pet=dice.pick(WORDS["pets"]),
            pet_name=pet_names[i],
            treasure=treasures[i],
            friend=names[i ^ 1],
        )
        for i, name in enumerate(names)
    )
    spots = tuple(
        Spot(name, preposition, village)
        for (name, preposition), village in zip(
            WORDS["spots"].items(), villages, strict=True
        )
    )
    return World(people, spots)


def _around(dice: Dice, options: Iterable[str]) -> list[str]:
    """Deals an even number of options round; two friends never share one."""
    dealt: list[str] = []
    while len(dealt) < _NUM_PEOPLE:
        dealt += dice.shuffled(options)
    return dealt
