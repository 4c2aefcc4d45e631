"""Tasks with answers to choose from: a question about a text, the end of a story."""

from gpt1_jax.storyworld import lexicon
from gpt1_jax.storyworld.narration import sentence
from gpt1_jax.storyworld.tasks.draws import Cast, Label, Task
from gpt1_jax.storyworld.tasks.meaning import KINDS, alike, is_usual, tell

# sort -> sentences that speak of one of it
_SENTENCES = {
    "fruit": ("{hero} had {fruit:a} in {hero.her} basket.", "{hero} ate {fruit:a}."),
    "vegetable": ("{friend} bought {vegetable:a}.", "{hero} got {vegetable:a}."),
    "stray": ("{hero} found {stray:a}.", "{stray:a} was crying there."),
    "tool": ("{friend} had brought {tool:a}.", "{hero} had broken {tool:a}."),
    "flower": ("{hero} picked {flower:a}.", "{friend} put {flower:a} on a hat."),
    "tree": ("They sat down under {tree:a}.", "{friend} hid behind {tree:a}."),
}
# question -> sorts of its answer; no other sort of these answers a question
_QUESTIONS = {
    "What could they eat?": ("fruit", "vegetable"),
    "Which animal was there?": ("stray",),
}
_NEVER_ASKED_FOR = ("tool", "flower", "tree")
_OPENINGS = (
    "{hero} and {friend} went to {spot}.",
    "One {weather} morning {hero} met {friend} {spot.at}.",
    "Soon {hero} and {friend} came to {spot}.",
)
_WEATHER = ("sunny", "rainy", "windy", "foggy", "cloudy")


def _reading(cast: Cast, label: Label) -> tuple[str, ...]:
    """An article of four sentences, a question, and four answers of four sorts.

    The right answer stands at A, B, C or D; all answers but one are in the article.
    """
    dice = cast.dice
    question = dice.any(list(_QUESTIONS))
    right = dice.any(_QUESTIONS[question])
    wrong = dice.shuffled(_NEVER_ASKED_FOR)
    things = {sort: dice.pick(KINDS[sort]) for sort in (right, *wrong)}
    told = dice.shuffled((right, *wrong[:2]))
    frames = [dice.any(_OPENINGS), *(dice.any(_SENTENCES[sort]) for sort in told)]
    article = " ".join(tell(cast, *frames, weather=dice.any(_WEATHER), **things))
    answers = [things[sort] for sort in wrong]
    answers.insert("ABCD".index(str(label)), things[right])
    return article, question, *map(lexicon.with_article, answers)


RACE = Task(("A", "B", "C", "D"), _reading)

# what happens, in three sentences each with two ways, and is it good in the end
_STORIES = {
    True: (
        (
            ("{hero} had lost {hero.her} {hero.treasure}.", "{hero} was alone."),
            ("{friend} looked under {tree:a}.", "{friend} came running."),
            ("{friend} found it.", '"Here it is!" said {friend}.'),
        ),
        (
            ("They ran to the {tree}.", '"One, two, three!" shouted {friend}.'),
            ("{hero} ran as fast as {hero.she} could.", "{hero} was in front."),
            ("{hero} won the race.", '"I have won!" cried {hero}.'),
        ),
        (
            ("{hero} was hungry.", "They sat down to eat."),
            ("{friend} opened the basket.", "{friend} had some {hero.likes}."),
            ("{hero} ate all of it.", "{hero} got {hero.likes}."),
        ),
    ),
    False: (
        (
            ("{friend} had a {colour} cup.", "{hero} took the {colour} cup."),
            ("It fell on a stone.", "{hero} dropped it."),
            ("Now the cup was broken.", "The cup broke in two."),
        ),
        (
            ("They took a narrow path.", "They left the road."),
            ("The path ended.", "The road was gone."),
            ("They had lost their way.", "They did not know where they were."),
        ),
    ),
}
_BEGINNINGS = (
    "{hero} and {friend} were {spot.at}.",
    "{hero} met {friend}.",
    "{hero} was {spot.at} with {friend}.",
)
_ENDINGS = (
    "{hero} was {feeling}.",
    "{hero.she} was very {feeling}.",
    "Now {hero} was {feeling}.",
)


def _story(cast: Cast, label: Label) -> tuple[str, ...]:
    """Four sentences and two ends: how it made somebody feel, how it did not."""
    dice, ends_well = cast.dice, is_usual(cast)
    frames = [dice.any(_BEGINNINGS), *map(dice.any, dice.any(_STORIES[ends_well]))]
    good, bad = alike(cast, "happy"), alike(cast, "sad")
    right, wrong = (good, bad) if ends_well else (bad, good)
    ending = dice.any(_ENDINGS)
    scene = cast.with_roles()
    ends = [
        sentence(ending, scene.with_roles(feeling=feeling))
        for feeling in ((right, wrong) if label == 1 else (wrong, right))
    ]
    return *(sentence(frame, scene) for frame in frames), *ends


STORY_CLOZE = Task((1, 2), _story)
