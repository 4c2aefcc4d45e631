"""The words of the world: names, nouns by kind, synonyms, opposites, plurals.

Every noun is countable and begins with the sound of its first letter, so that `plural`
and `with_article` need no dictionary of exceptions beyond `_IRREGULAR`.
"""

import dataclasses


def _words(text: str) -> tuple[str, ...]:
    """The words of a list that is written as text."""
    return tuple(text.split())


WOMEN = _words(
    "Anna Bella Clara Dora Emma Flora Greta Hanna Ida Julia Kate Lena Mary Nina Olga "
    "Paula Rosa Sophie Tilda Vera Wilma Alice Ella Maud"
)
MEN = _words(
    "Adam Ben Carl David Emil Fred George Hugo Ivan Jack Karl Leo Max Noah Oscar "
    "Peter Robert Sam Tom Victor William Felix Oliver Paul"
)
PET_NAMES = _words(
    "Biscuit Pepper Ginger Button Shadow Patch Daisy Whiskers Muffin Acorn Bramble "
    "Clover Dusty Fern Hazel Juniper Marble Nutmeg Pebble Rusty Smoky Toffee Velvet "
    "Willow Cinder Domino Echo Feather Honey Inky Jasper Lucky Misty Olive Poppy "
    "Scout Snowy Sunny Tiger Teddy Ziggy Copper"
)
VILLAGES = _words(
    "Millbrook Oakham Riverton Stonebridge Ashford Greenhill Fairwater Elmswood "
    "Northfield Larkspur Thornby Maplewick Silverdale Applegate"
)

# noun -> its kind; a kind may itself be a word of a wider kind.
HYPERNYMS = {
    kind: _words(words)
    for kind, words in {
        "bird": "robin sparrow owl crow duck goose swan pigeon blackbird",
        "fish": "trout salmon carp pike herring",
        "insect": "bee ant beetle butterfly wasp cricket",
        "reptile": "snake lizard tortoise",
        "mammal": "dog cat rabbit pony goat pig cow wolf bear fox badger squirrel rat",
        "fruit": "apple pear plum cherry peach",
        "vegetable": "carrot onion turnip cabbage leek",
        "tree": "oak birch pine willow elm",
        "flower": "rose tulip daisy lily violet",
        "tool": "hammer saw spade axe rake",
        "animal": "bird fish insect reptile mammal",
        "plant": "tree flower",
    }.items()
}
PETS = _words("dog cat rabbit pony goat duck tortoise pigeon pig")
FEARED = _words("snake wolf bear goose wasp owl rat fox beetle crow bee cow")
WILD = _words("robin sparrow swan squirrel badger blackbird butterfly lizard")
STRAYS = _words("kitten puppy lamb duckling foal piglet")

# The first word of a group is its head; the others mean the same.
SYNONYMS = tuple(
    _words(group)
    for group in (
        "happy glad cheerful joyful delighted",
        "sad unhappy gloomy miserable sorrowful",
        "afraid scared frightened terrified",
        "brave bold fearless courageous",
        "angry cross furious",
        "calm peaceful",
        "tired weary sleepy exhausted",
        "lively energetic",
        "big large huge",
        "small little tiny",
        "fast quick swift",
        "slow sluggish",
        "clever smart bright",
        "foolish silly",
        "kind gentle friendly",
        "cruel mean",
        "beautiful pretty lovely",
        "ugly hideous",
        "delicious tasty yummy",
        "awful horrible terrible disgusting",
        "cold chilly freezing",
        "hot warm",
        "rude impolite",
        "polite courteous",
    )
)
OPPOSITES = (
    ("happy", "sad"),
    ("afraid", "brave"),
    ("angry", "calm"),
    ("tired", "lively"),
    ("big", "small"),
    ("fast", "slow"),
    ("clever", "foolish"),
    ("kind", "cruel"),
    ("beautiful", "ugly"),
    ("delicious", "awful"),
    ("cold", "hot"),
    ("rude", "polite"),
)

# dish -> what it is served in: "a bowl of pea soup".
DISHES = {
    "apple pie": "slice",
    "plum cake": "slice",
    "honey cake": "slice",
    "onion bread": "slice",
    "walnut bread": "slice",
    "cherry pie": "slice",
    "cheese pie": "slice",
    "gingerbread": "slice",
    "carrot soup": "bowl",
    "pea soup": "bowl",
    "mushroom stew": "bowl",
    "fish stew": "bowl",
    "rice pudding": "bowl",
    "oat porridge": "bowl",
    "bean salad": "plate",
    "roast chicken": "plate",
    "potato salad": "plate",
    "cabbage stew": "bowl",
    "turnip soup": "bowl",
    "strawberry jam": "spoonful",
}
# job -> the work that it is.
JOBS = {
    "baker": "bake bread",
    "miller": "grind corn",
    "fisher": "mend nets",
    "farmer": "dig up turnips",
    "gardener": "water the roses",
    "shepherd": "count the sheep",
    "carpenter": "build chairs",
    "painter": "paint doors",
    "potter": "shape clay pots",
    "weaver": "weave blankets",
    "tailor": "sew coats",
    "beekeeper": "gather honey",
    "woodcutter": "chop wood",
    "innkeeper": "make soup",
    "cobbler": "mend shoes",
    "teacher": "clean the school",
}
HOMES = tuple(
    f"{look} {building}"
    for building in ("cottage", "house", "hut")
    for look in ("white", "stone", "wooden", "yellow", "old brick", "crooked")
)
HOBBIES = (
    "sing songs",
    "paint pictures",
    "climb trees",
    "tell riddles",
    "play the flute",
    "read books",
    "swim",
    "dance",
    "fly kites",
    "collect shells",
    "look at the stars",
    "play chess",
)
TRAITS = _words("kind clever brave polite fast lively")
TREASURES = (
    "silver key",
    "blue scarf",
    "straw hat",
    "brass bell",
    "green umbrella",
    "leather bag",
    "gold ring",
    "wool blanket",
    "clay whistle",
    "round mirror",
    "paper lantern",
    "glass bottle",
    "old map",
    "red kite",
    "white shell",
    "silk ribbon",
    "copper coin",
    "wooden flute",
    "ivory comb",
    "amber button",
)
COLOURS = _words("red blue green yellow white orange purple")
NUMBERS = _words("two three four five six seven")

_IRREGULAR = {"goose": "geese", "wolf": "wolves", "fish": "fish", "trout": "trout"} | {
    "salmon": "salmon",
    "carp": "carp",
    "pike": "pike",
    "leaf": "leaves",
}


@dataclasses.dataclass(frozen=True)
class Lexicon:
    """What words mean: the same in every world, since it is English."""

    synonyms: tuple[tuple[str, ...], ...] = SYNONYMS
    opposites: tuple[tuple[str, str], ...] = OPPOSITES
    hypernyms: tuple[tuple[str, tuple[str, ...]], ...] = tuple(HYPERNYMS.items())

    def alike(self, word: str) -> tuple[str, ...]:
        """The words that mean the same as `word`, itself included."""
        for group in self.synonyms:
            if word in group:
                return group
        raise KeyError(word)


def with_article(noun_phrase: str) -> str:
    """`owl` -> `an owl`."""
    return f"{'an' if noun_phrase[0] in 'aeiou' else 'a'} {noun_phrase}"


def plural(noun: str) -> str:
    """`cherry` -> `cherries`."""
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")
