"""Tasks about a premise and what follows from it, or a question and its answer."""

from gpt1_jax.storyworld import lexicon
from gpt1_jax.storyworld.tasks.draws import Cast, Label, MakeTexts, Task
from gpt1_jax.storyworld.tasks.meaning import OPPOSITES, alike, is_usual, tell, thing

_THREE_WAY = ("entailment", "neutral", "contradiction")
_TWO_WAY = ("entailment", "not_entailment")

_ANIMALS = ("fish", "bird", "insect", "stray")
_PLANTS = ("tree", "flower")
_SEEN = (
    "{hero} saw {one:a} {spot.at}.",
    "There was {one:a} {spot.at}.",
    "{spot.at} {hero} found {one:a}.",
)


def _sight(cast: Cast, label: Label) -> tuple[str, ...]:
    """What was seen is an animal, usually, or not; nobody can tell how it looked."""
    asks_for_animal = is_usual(cast)
    right: tuple[str, ...] = _ANIMALS
    wrong: tuple[str, ...] = (*_PLANTS, "tool", "fruit")
    if not asks_for_animal:
        right, wrong = _PLANTS, _ANIMALS
    hypothesis = f"It was {'an animal' if asks_for_animal else 'a plant'}."
    if label == "neutral":
        look = alike(cast, "big", "small", "beautiful", "ugly")
        hypothesis = f"It was very {look}."
    kinds: dict[Label, tuple[str, ...]] = {"entailment": right, "contradiction": wrong}
    one = thing(cast, *kinds.get(label, right + wrong))
    return tell(cast, cast.dice.any(_SEEN), hypothesis, one=one)


SNLI = Task(_THREE_WAY, _sight)

_FELT = (
    "{hero} was {one} {spot.at}.",
    "When {hero.she} came to {spot}, {hero} was {one}.",
    "{friend} saw that {hero} was {one}.",
)
_SAID = (
    '"I am so {one}," said {hero}.',
    '"You are very {one}, {hero}," said {friend}.',
    "Everybody said that {hero} was {one}.",
)
_OF_OTHER_SORTS = ("tired", "clever", "polite", "fast", "brave")


def _make_feeling(frames: tuple[str, ...]) -> MakeTexts:
    """Rows about a feeling that is told in one of `frames`."""

    def feeling(cast: Cast, label: Label) -> tuple[str, ...]:
        """One feeling, usually a happy one: the same, its opposite, or another sort."""
        head, opposite = OPPOSITES[0] if is_usual(cast) else OPPOSITES[0][::-1]
        then: dict[Label, tuple[str, ...]] = {
            "entailment": (head,),
            "contradiction": (opposite,),
        }
        return tell(
            cast,
            cast.dice.any(frames),
            "{hero} was {other}.",
            one=alike(cast, head),
            other=alike(cast, *then.get(label, _OF_OTHER_SORTS)),
        )

    return feeling


MNLI = Task(_THREE_WAY, _make_feeling(_FELT))
MNLI_MISMATCHED = Task(_THREE_WAY, _make_feeling(_SAID))

_WHO = (
    "Who was waiting for {hero}?",
    "Who is the best friend of {hero}?",
    "Who gave {hero} {fruit:a}?",
)
_WHERE = ("Where did {hero} want to go?", "Where does {hero} live?")
_THOUGHTS = (
    "All day {hero.she} thought of {answer}.",
    "{hero} told {hero.her} {hero.pet} about {answer}.",
    '"I cannot forget {answer}," {hero.she} said.',
    "{hero} thought about {answer}.",
)


def _question(cast: Cast, label: Label) -> tuple[str, ...]:
    """Usually who it was, else where: answered by a person, by a village."""
    asks_who = is_usual(cast)
    question = cast.dice.any(_WHO if asks_who else _WHERE)
    names_person = asks_who == (label == "entailment")
    villages = sorted({person.village for person in cast.world.people})
    answer = cast["friend"].name if names_person else cast.dice.pick(villages)
    return tell(cast, question, cast.dice.any(_THOUGHTS), answer=answer)


QNLI = Task(_TWO_WAY, _question)

_FOUND = (
    "{hero} found {one:a} {spot.at} and took it home.",
    "{friend} gave {hero} the {one} {spot.at}.",
    "{friend} came to {spot} and showed {hero} {one:a}.",
)
# what can be said of what was found -> its kinds
_USES = {
    "{hero} had something to eat.": ("fruit", "vegetable"),
    "{hero} had a little animal.": ("stray",),
}
_OF_OTHER_USE = ("tool", "flower")


def _use(cast: Cast, label: Label) -> tuple[str, ...]:
    """Something found, and a use that its kind has or has not."""
    use, other = cast.dice.shuffled(_USES)
    kinds = _USES[use]
    if label == "not_entailment":
        kinds = _OF_OTHER_USE if is_usual(cast) else _USES[other]
    return tell(cast, cast.dice.any(_FOUND), use, one=thing(cast, *kinds))


RTE = Task(_TWO_WAY, _use)

_SAME = (
    '"{one} means the same as {same}," said {hero}.',
    '"{same} and {one} mean the same," said {hero}.',
)
_OPPOSITE = (
    '"The opposite of {one} is {other}," said {friend}.',
    '"{other} is the opposite of {one}," said {friend}.',
)
_MEANINGS = (*OPPOSITES, ("delicious", "awful"))


def _meaning(cast: Cast, label: Label) -> tuple[str, ...]:
    """What a word means, usually a good one, and what its opposite is or is not."""
    pair = cast.dice.any(_MEANINGS)
    head, opposite = pair if is_usual(cast) else pair[::-1]
    one, same = cast.dice.two(lexicon.alike(head))
    other = alike(cast, opposite if label == "entails" else head)
    frames = cast.dice.any(_SAME), cast.dice.any(_OPPOSITE)
    return tell(cast, *frames, one=one, same=same, other=other)


SCITAIL = Task(("entails", "neutral"), _meaning)
