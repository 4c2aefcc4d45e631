"""Tasks about what a pronoun means: of two people or two things, it fits one."""

from collections.abc import Sequence

from gpt1_jax.storyworld.tasks.draws import Cast, Label, Task
from gpt1_jax.storyworld.tasks.meaning import is_usual, tell, thing

_FOOD = ("fruit", "vegetable")
_YOUNG = ("stray",)
_OTHERS = ("tool", "flower")
_TOGETHER = (
    "{hero} found the {one} beside the {other}",
    "{spot.at} {hero} saw the {one} and the {other}",
    "{hero} looked at the {one} and then at the {other}",
    "{friend} showed {hero} the {one} and the {other}",
)
# what was done with one of two things -> kinds of it
_DEEDS = {
    "{hero} wanted to eat {it}": _FOOD,
    "{hero} gave {it} some milk": _YOUNG,
}


def _coreference(cast: Cast, label: Label) -> tuple[str, ...]:
    """A sentence with a pronoun, and its end with a noun for it: the right one (1)."""
    deed, unlikely = cast.dice.shuffled(_DEEDS)
    meant = thing(cast, *_DEEDS[deed])
    wrong = thing(cast, *(_OTHERS if is_usual(cast) else _DEEDS[unlikely]))
    one, other = cast.dice.shuffled((meant, wrong))
    told = f"{cast.dice.any(_TOGETHER)}, and {deed.replace('{hero}', '{hero.she}')}."
    roles = {"one": one, "other": other, "named": meant if label else wrong}
    claim = deed.replace("{it}", "the {named}")
    return tell(cast, told, f"{claim}.", **roles, it="it")


WNLI = Task((0, 1), _coreference)

_MEETINGS = (
    "{one} met {other} {spot.at}",
    "{one} went to {spot} with {other}",
    "{one} told {other} a story",
    "{one} walked home with {other}",
)
# what only one of a woman and a man can mean, once the pronoun is a name
_OF_PEOPLE = (
    "{pronoun} had lost {meant.her} way",
    "{pronoun} could not find {meant.her} hat",
    "{pronoun} had forgotten {meant.her} {meant.treasure}",
    "{pronoun} was looking for {meant.her} {meant.pet}",
)
# what is said of one of two things -> kinds of it
_OF_THINGS = {
    "{pronoun} was {delicious}": _FOOD,
    "{pronoun} had lost its mother": _YOUNG,
    "{pronoun} was broken": ("tool",),
}


def _definite(cast: Cast, label: Label) -> tuple[str, ...]:
    """Sentence, pronoun, candidates, and the one meant: the first (0) or second (1)."""
    dice, which = cast.dice, int(label)
    pair: Sequence[object]
    if dice.below(2):
        genders = dice.shuffled((True, False))
        pair = people = [
            dice.pick([p for p in cast.world.people if p.is_female is is_female])
            for is_female in genders
        ]
        names = [person.name for person in people]
        first, then = dice.any(_MEETINGS), dice.any(_OF_PEOPLE)
        pronoun = people[which].she
    else:
        then, *unlikely = dice.shuffled(_OF_THINGS)
        pair = nouns = [thing(cast, *_OF_THINGS[unlikely[0]])]
        nouns.insert(which, thing(cast, *_OF_THINGS[then]))
        names = [f"the {noun}" for noun in nouns]
        first, pronoun = dice.any(_TOGETHER), "it"
    roles = {"one": pair[0], "other": pair[1], "meant": pair[which]}
    told = tell(cast, f"{first}, because {then}.", **roles, pronoun=pronoun)
    return *told, pronoun, ",".join(names), names[which]


DPR = Task((0, 1), _definite)
