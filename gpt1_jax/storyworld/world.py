"""The facts of the world, a pure function of the seed; no narration."""

import dataclasses
import functools

from gpt1_jax.storyworld import lexicon
from gpt1_jax.storyworld.dice import Dice

NUM_PEOPLE = 40  # even, so that everybody has one friend
NUM_VILLAGES = 10
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
    def herself(self) -> str:
        return "herself" if self.is_female else "himself"

    @property
    def work(self) -> str:
        """What the job is, as in `to bake bread`."""
        return lexicon.JOBS[self.job]

    @property
    def portion(self) -> str:
        """What the liked dish is served in."""
        return lexicon.DISHES[self.likes]

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
    """People, places and the lexicon; everything that the books may assert."""

    seed: int
    people: tuple[Person, ...]
    spots: tuple[Spot, ...]
    lexicon: lexicon.Lexicon

    @functools.cached_property
    def by_name(self) -> dict[str, Person]:
        return {person.name: person for person in self.people}

    def residents(self, village: str) -> tuple[Person, ...]:
        """Who lives in `village`."""
        return tuple(person for person in self.people if person.village == village)


_SPOTS = (
    ("the river", "by"),
    ("the lake", "by"),
    ("the pond", "by"),
    ("the forest", "in"),
    ("the meadow", "in"),
    ("the orchard", "in"),
    ("the hill", "on"),
    ("the market", "at"),
    ("the old bridge", "at"),
    ("the windmill", "at"),
)


def make_world(seed: int) -> World:
    """The world of `seed`.

    Args:    seed: an integer of at least 0.
    Raises:  ValueError for a negative seed.
    """
    if seed < 0:
        raise ValueError(f"seed {seed}; an integer >= 0 is allowed; choose another")
    dice = Dice(_WORLD_STREAM, seed)
    women = dice.shuffled(lexicon.WOMEN)[: NUM_PEOPLE // 2]
    men = dice.shuffled(lexicon.MEN)[: NUM_PEOPLE // 2]
    names = dice.shuffled(women + men)
    villages = dice.shuffled(lexicon.VILLAGES)[:NUM_VILLAGES]
    pet_names = dice.shuffled(lexicon.PET_NAMES)
    homes = _around(dice, lexicon.HOMES)
    jobs = _around(dice, tuple(lexicon.JOBS))
    treasures = _around(dice, lexicon.TREASURES)
    hobbies = _around(dice, lexicon.HOBBIES)
    likes = _around(dice, tuple(lexicon.DISHES))
    people = tuple(
        Person(
            name=name,
            is_female=name in lexicon.WOMEN,
            village=villages[i % NUM_VILLAGES],
            home=homes[i],
            job=jobs[i],
            hobby=hobbies[i],
            trait=dice.pick(lexicon.TRAITS),
            likes=likes[i],
            dislikes=dice.pick([dish for dish in lexicon.DISHES if dish != likes[i]]),
            fears=dice.pick(lexicon.FEARED),
            pet=dice.pick(lexicon.PETS),
            pet_name=pet_names[i],
            treasure=treasures[i],
            friend=names[i ^ 1],
        )
        for i, name in enumerate(names)
    )
    spots = tuple(
        Spot(name, preposition, village)
        for (name, preposition), village in zip(_SPOTS, villages, strict=True)
    )
    return World(seed, people, spots, lexicon.Lexicon())


def _around(dice: Dice, options: tuple[str, ...]) -> list[str]:
    """NUM_PEOPLE of an even number of options; two friends never share one."""
    rounds = -(-NUM_PEOPLE // len(options))
    return [option for _ in range(rounds) for option in dice.shuffled(options)]
