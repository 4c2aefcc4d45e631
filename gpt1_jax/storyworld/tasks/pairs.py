"""Tasks about two texts: paraphrase, entailment, and whether an answer is one.

The rows of a group share their second text, so that a hypothesis alone tells nothing;
those of QNLI and WNLI share the question or the sentence before it.
"""

from collections.abc import Callable

from gpt1_jax.storyworld import lexicon, texts
from gpt1_jax.storyworld.tasks.rows import Cast, Label, Task, TextsOf

_TASKS = texts.load("tasks")
_NOUNS = _TASKS["nouns"]
_MOODS = _TASKS["adjectives"]["moods"]
_TWO_WAY = ("entailment", "not_entailment")
_THREE_WAY = ("entailment", "neutral", "contradiction")


def _paraphrase(cast: Cast) -> TextsOf:
    """The same moment told twice: by a word that means the same, or by an opposite."""
    good, bad = cast.dice.any(_MOODS)
    head, opposite = (good, bad) if cast.dice.is_usual() else (bad, good)
    moment = cast.dice.any(_TASKS["mrpc"]["moments"])
    (second,) = cast.tell(f"{moment} {{hero}} was {{word}}.", word=cast.alike(head))

    def pair(label: Label) -> tuple[str, ...]:
        word = cast.alike(head if label else opposite)
        return *cast.tell(f"{{hero}} was {{word}} {moment}.", word=word), second

    return pair


MRPC = Task((0, 1), _paraphrase)


def _duplicate(cast: Cast) -> TextsOf:
    """A question about a thing asked again, usually about an animal: was it one?"""
    asks_for_animal = cast.dice.is_usual()
    first, second = cast.dice.any(_TASKS["qqp"]["questions"])
    right, wrong = _NOUNS["animal"], _NOUNS["not_animal"]
    if not asks_for_animal:
        right, wrong = _NOUNS["plant"], _NOUNS["animal"]
    what = "an animal" if asks_for_animal else "a plant"

    def pair(label: Label) -> tuple[str, ...]:
        thing = cast.thing(*(right if label else wrong))
        return cast.tell(first, second, thing=thing, what=what)

    return pair


# As in the official data, three of eight are duplicates.
QQP = Task((1, 0, 0, 1, 0, 0, 1, 0), _duplicate)


def _graded(cast: Cast) -> TextsOf:
    """Sights of an animal and it (5), its kind (4), another (3), a plant (1), else."""
    dice, sights = cast.dice, _TASKS["stsb"]["sights"]

    def pair(label: Label) -> tuple[str, ...]:
        kind, other_kind = dice.shuffled(_NOUNS["animal"])[:2]
        one, alike_one = dice.two(lexicon.POOLS[kind])
        grade = round(float(label))
        other = {5: one, 4: alike_one}.get(grade)
        if other is None:
            kinds = {3: [other_kind], 1: _NOUNS["plant"], 0: _NOUNS["tool_or_food"]}
            other = cast.thing(*kinds[grade])
        first, second = dice.shuffled((one, other))
        return (
            *cast.tell(dice.any(sights), thing=first),
            *cast.tell(dice.any(sights), thing=second),
        )

    return pair


STSB = Task((5.0, 0.0, 4.0, 0.2, 3.8, 1.0, 3.2, 0.4, 2.8, 1.2), _graded)


def _sight(cast: Cast) -> TextsOf:
    """Says of something seen that it is an animal, is none, or cannot be told."""
    asks_for_animal = cast.dice.is_usual()
    animals = _NOUNS["animal"] + _NOUNS["young_animal"]
    right, wrong = animals, _NOUNS["not_animal"]
    if not asks_for_animal:
        right, wrong = _NOUNS["plant"], animals
    hypothesis = f"It was {'an animal' if asks_for_animal else 'a plant'}."

    def pair(label: Label) -> tuple[str, ...]:
        if label == "neutral":
            what = f"something {cast.alike(*_TASKS['adjectives']['looks'])}"
        else:
            kinds = right if label == "entailment" else wrong
            what = lexicon.with_article(cast.thing(*kinds))
        frame = cast.dice.any(_TASKS["snli"]["sights"])
        return cast.tell(frame, hypothesis, what=what)

    return pair


SNLI = Task(_THREE_WAY, _sight)


def _feeling(frames: list[str]) -> Callable[[Cast], TextsOf]:
    """Rows about a feeling that is told in one of `frames`."""

    def begin(cast: Cast) -> TextsOf:
        """One feeling, usually a happy one: the same, its opposite, or another sort."""
        good, bad = _MOODS[0]
        head, opposite = (good, bad) if cast.dice.is_usual() else (bad, good)
        heads = {
            "entailment": [head],
            "contradiction": [opposite],
            "neutral": _TASKS["adjectives"]["not_moods"],
        }
        claimed = cast.alike(head)

        def pair(label: Label) -> tuple[str, ...]:
            mood = cast.alike(*heads[str(label)])
            frame = cast.dice.any(frames)
            return cast.tell(frame, "{hero} was {claimed}.", mood=mood, claimed=claimed)

        return pair

    return begin


MNLI = Task(_THREE_WAY, _feeling(_TASKS["mnli"]["story"]))
MNLI_MISMATCHED = Task(_THREE_WAY, _feeling(_TASKS["mnli"]["talk"]))


def _question(cast: Cast) -> TextsOf:
    """Usually who it was, else where: answered by a person, by a village."""
    asks_who = cast.dice.is_usual()
    frames = _TASKS["qnli"]
    question = cast.tell(cast.dice.any(frames["who" if asks_who else "where"]))
    villages = sorted({person.village for person in cast.world.people})

    def pair(label: Label) -> tuple[str, ...]:
        names_person = asks_who == (label == "entailment")
        answer = cast["friend"].name if names_person else cast.dice.pick(villages)
        return *question, *cast.tell(cast.dice.any(frames["thoughts"]), answer=answer)

    return pair


QNLI = Task(_TWO_WAY, _question)


def _use(cast: Cast) -> TextsOf:
    """Something found, and a use that its kind has or has not."""
    frames = _TASKS["rte"]
    use, other = cast.dice.shuffled(frames["uses"])

    def pair(label: Label) -> tuple[str, ...]:
        nouns = frames["uses"][use]
        if label == "not_entailment":
            nouns = frames["uses"][other]
            if cast.dice.is_usual():
                nouns = "neither_animal_nor_food"
        thing = cast.thing(*_NOUNS[nouns])
        return cast.tell(cast.dice.any(frames["finds"]), use, thing=thing)

    return pair


RTE = Task(_TWO_WAY, _use)


def _meaning(cast: Cast) -> TextsOf:
    """Says what a word means, and what its opposite, usually a bad word, is or not."""
    frames = _TASKS["scitail"]
    good, bad = cast.dice.any(frames["pairs"])
    head, opposite = (good, bad) if cast.dice.is_usual() else (bad, good)
    other = cast.alike(opposite)
    hypothesis = cast.dice.any(frames["opposite"])

    def pair(label: Label) -> tuple[str, ...]:
        word = cast.alike(head if label == "entails" else opposite)
        frame = cast.dice.any(frames["same"])
        return cast.tell(frame, hypothesis, word=word, other=other)

    return pair


SCITAIL = Task(("entails", "neutral"), _meaning)


def _coreference(cast: Cast) -> TextsOf:
    """A sentence with a pronoun, and its end with a noun for it: the right one (1)."""
    deeds = _TASKS["wnli"]["deeds"]
    deed, unlikely = cast.dice.shuffled(deeds)
    others = "neither_animal_nor_food" if cast.dice.is_usual() else deeds[unlikely]
    meant, wrong = cast.thing(*_NOUNS[deeds[deed]]), cast.thing(*_NOUNS[others])
    one, other = cast.dice.shuffled((meant, wrong))
    together = cast.dice.any(_TASKS["pronouns"]["together"])
    frame = f"{together}, and {deed.replace('{hero}', '{hero.she}')}."
    sentence = cast.tell(frame, one=one, other=other, it="it")
    return lambda label: (
        *sentence,
        *cast.tell(f"{deed}.", it=f"the {meant if label else wrong}"),
    )


WNLI = Task((0, 1), _coreference)
