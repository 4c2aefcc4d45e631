"""Templates into sentences: the choice of words, agreement, capitals.

A template is text: a line is a sentence, a line that begins with `|` is another way to
say the line above (`|` alone: leave it out), one that begins with a space continues the
line above, a blank line begins a new paragraph.
`{hero.her}` names a role of the cast and a fact about it; after a colon, `a` adds the
article, `s` makes the plural, `t` a title. A feeling such as `{happy}` becomes any word
that means the same.  Example, one of two outcomes:

    {hero} saw {wild:a}.        ->  Anna saw a robin. She was glad.
    | {wild:a} came near.
    {hero.she} was {happy}.
"""

import functools
import re
import string
from collections.abc import Callable
from typing import Any

from gpt1_jax.storyworld import lexicon
from gpt1_jax.storyworld.dice import Dice
from gpt1_jax.storyworld.world import Person, World

_FORMS: dict[str, Callable[[str], str]] = {
    "": str,
    "a": lexicon.with_article,
    "s": lexicon.plural,
    "t": str.title,
}
_SENTENCE_START = re.compile(r'(?:^|(?<=[.!?] )|(?<=^")|(?<= "))[a-z]')


class Cast(dict[str, Any]):
    """Who and what a scene speaks of; a role not given is drawn at its first mention.

    Feelings are drawn anew at each mention, everything else stays for the scene.
    """

    def __init__(self, world: World, dice: Dice, /, **roles: object):
        super().__init__(roles)
        self.world, self.dice = world, dice

    def __missing__(self, role: str) -> Any:
        if role in lexicon.POOLS:
            self[role] = self.dice.pick(lexicon.POOLS[role])
        elif role in ("neighbour", "neighbour_trait"):
            people = self.world.residents(self["spot"].village)
            self._draw_person("neighbour", people)
        elif role in ("other", "other_trait"):
            self._draw_person("other", self.world.people)
        elif role in ("word", "class_", "sibling", "stranger", "stranger_class"):
            self._draw_kinds()
        elif role in ("meaning", "same", "opposite", "opposite_same"):
            self._draw_meanings()
        else:
            return self.dice.pick(lexicon.alike(role))
        return self[role]

    def with_roles(self, **roles: object) -> "Cast":
        """Returns the same cast with `roles` added, for a scene of its own."""
        return Cast(self.world, self.dice, **(self | roles))

    def _draw_person(self, role: str, people: tuple[Person, ...]) -> None:
        present = [self["hero"], self["friend"]]
        known = {name for p in present for name in (p.name, p.friend)}
        strangers = [person for person in people if person.name not in known]
        self[role] = self.dice.pick(strangers)
        self[f"{role}_trait"] = self.dice.pick(lexicon.alike(self[role].trait))

    def _draw_kinds(self) -> None:
        kinds = lexicon.KINDS
        kind, stranger_kind = self.dice.pick(_disjoint_kinds())
        self["class_"], self["stranger_class"] = kind, stranger_kind
        self["word"], self["sibling"] = self.dice.shuffled(kinds[kind])[:2]
        self["stranger"] = self.dice.pick(kinds[stranger_kind])

    def _draw_meanings(self) -> None:
        one, other = self.dice.shuffled(self.dice.pick(lexicon.OPPOSITES))
        alike, unlike = lexicon.alike(one), lexicon.alike(other)
        self["meaning"], self["same"] = self.dice.shuffled(alike)[:2]
        self["opposite"], self["opposite_same"] = self.dice.shuffled(unlike)[:2]


def narrate(template: str, cast: Cast) -> list[str]:
    """Returns the paragraphs that `template` becomes."""
    paragraphs = []
    for paragraph in _parse(template):
        chosen = [cast.dice.pick(ways) for ways in paragraph]
        paragraphs.append(" ".join(sentence(way, cast) for way in chosen if way))
    return [paragraph for paragraph in paragraphs if paragraph]


def sentence(template: str, cast: Cast) -> str:
    """Returns `template` with its fields filled and its capitals set."""
    return _SENTENCE_START.sub(lambda m: m[0].upper(), fill(template, cast))


def fill(template: str, cast: Cast) -> str:
    """Returns `template` with its fields filled."""
    parts = []
    for literal, role, fact, form in _fields(template):
        parts.append(literal)
        if role:
            value = getattr(cast[role], fact) if fact else cast[role]
            parts.append(_FORMS[form](value))
    return "".join(parts)


@functools.cache
def _parse(template: str) -> tuple[tuple[tuple[str, ...], ...], ...]:
    """Returns paragraphs of sentences; each sentence is a tuple of alternatives."""
    paragraphs = []
    for block in template.strip("\n").split("\n\n"):
        sentences: list[list[str]] = []
        for line in block.split("\n"):
            if line.startswith("|"):
                sentences[-1].append(line[1:].strip())
            elif line.startswith(" "):
                sentences[-1][-1] += f" {line.strip()}"
            else:
                sentences.append([line])
        paragraphs.append(tuple(map(tuple, sentences)))
    return tuple(paragraphs)


@functools.cache
def _fields(template: str) -> tuple[tuple[str, str, str, str], ...]:
    """Returns (text before, role, fact, form) of each field of `template`."""
    fields = []
    for literal, name, form, _ in string.Formatter().parse(template):
        role, _, fact = (name or "").partition(".")
        fields.append((literal, role, fact, form or ""))
    return tuple(fields)


@functools.cache
def _disjoint_kinds() -> tuple[tuple[str, str], ...]:
    """Pairs of kinds such that no word of the second is of the first."""
    kinds = lexicon.KINDS
    edible = ("fruit", "vegetable")  # botanically plants, so never said not to be
    return tuple(
        (kind, other)
        for kind in kinds
        for other in kinds
        if kind != other
        and other not in kinds[kind]
        and kind not in kinds[other]
        and not (kind == "plant" and other in edible)
    )
