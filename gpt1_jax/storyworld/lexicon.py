"""The words of the world and what they mean: the same in every world."""

from gpt1_jax.storyworld import texts

WORDS = texts.load("lexicon")
# noun -> its kind; a kind may itself be a word of a wider kind.
KINDS: dict[str, list[str]] = WORDS["kinds"]
# Lists from which a template draws a word by the list's name.
POOLS: dict[str, list[str]] = KINDS | WORDS["pools"]
# Pairs of heads of groups of synonyms.
OPPOSITES: list[list[str]] = WORDS["opposites"]
_GROUPS = {word: group for group in WORDS["synonyms"] for word in group}


def alike(word: str) -> list[str]:
    """Returns the words that mean the same as `word`, which is one of them.

    Raises:  KeyError for a word without synonyms.
    """
    return _GROUPS[word]


def with_article(noun_phrase: str) -> str:
    """Returns `an owl` for `owl`."""
    return f"{'an' if noun_phrase[0] in 'aeiou' else 'a'} {noun_phrase}"


def plural(noun: str) -> str:
    """Returns `cherries` for `cherry`."""
    irregular: dict[str, str] = WORDS["irregular_plurals"]
    if noun in irregular:
        return irregular[noun]
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")
