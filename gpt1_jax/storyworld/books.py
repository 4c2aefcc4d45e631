"""The world told at length: one story a book, and the books as files."""

import math
import pathlib
import re
from typing import Any

from gpt1_jax.storyworld import texts
from gpt1_jax.storyworld.dice import Dice
from gpt1_jax.storyworld.narration import Cast, fill, narrate, sentence
from gpt1_jax.storyworld.world import World, make_world

_BOOK_STREAM = 1  # the first entropy word apart from the world's
_MIN_MEGABYTES = 0.001
_BOOK_BYTES = (26_000, 34_000)
_NUM_EVENTS, _NUM_LESSONS = 3, 3  # a chapter
_SENTENCE_END = re.compile(r'(?<!\d)[.!?]"?(?=\s)')  # not that of "Chapter 1."

_DAYS = texts.load("days")
_THREADS = texts.load("threads")["threads"]
_EVENTS = texts.load("events")["scenes"] + texts.load("pastimes")["scenes"]
_LESSONS = texts.load("lessons")["scenes"]


def book_text(world: World, seed: int, index: int) -> str:
    """Returns book `index` of the endless shelf of `seed`, a story about `world`.

    Title, then chapters of paragraphs; each stands on one line, with a blank line
    between. Between 20 and 40 KB.
    """
    dice = Dice(_BOOK_STREAM, seed, index)
    thread = dice.pick(_THREADS)
    hero = dice.pick(world.people)
    best_friend = world.by_name[hero.friend]
    book = Cast(world, dice, hero=hero, dear=best_friend)
    stay_away = (hero.village, best_friend.village)
    spots = [spot for spot in world.spots if spot.village not in stay_away]
    walkers = [
        person
        for person in world.people
        if person not in (hero, best_friend)
        and person.village != hero.village
        and person.hobby != hero.hobby
    ]
    frame = {"friend": best_friend, "spot": dice.pick(spots), "bond": "best friend"}
    blocks = [fill(thread["title"], book), "Chapter 1. How It Began"]
    blocks += narrate(thread["first"], book.with_roles(**frame))
    size, goal = 0, _BOOK_BYTES[0] + dice.below(_BOOK_BYTES[1] - _BOOK_BYTES[0])
    number = 1
    while size < goal:
        number += 1
        walks = thread["with_best_friend"] and dice.below(2)
        friend = best_friend if walks else dice.pick(walkers)
        roles = {
            "friend": friend,
            "bond": "best friend" if walks else "good friend",
            "spot": dice.pick([s for s in spots if s.village != friend.village]),
        }
        title, *chapter = _chapter(thread["daily"], book.with_roles(**roles))
        blocks += [f"Chapter {number}. {title}", *chapter]
        size += sum(map(len, chapter))
    blocks.append(f"Chapter {number + 1}. How It Ended")
    blocks += narrate(thread["last"], book.with_roles(**frame))
    return "\n\n".join(blocks) + "\n"


def write_books(directory: pathlib.Path, *, seed: int, megabytes: float) -> None:
    """Writes `book_0000.txt`, `book_0001.txt`, ..., `megabytes` in total.

    Book k is `book_text(make_world(seed), seed, k)`, however many there are; only the
    last one may end early, at the end of a sentence.

    Args:    megabytes: 10^6 bytes, at least 0.001; met within 2 % from 0.01 on.
    Raises:  ValueError for a negative seed, an impossible size, or a directory that
             keeps further books, which would be read as part of the corpus.
    """
    if not (_MIN_MEGABYTES <= megabytes < math.inf):
        raise ValueError(
            f"megabytes {megabytes}; a finite number >= {_MIN_MEGABYTES} is allowed; "
            "ask for 2 to pre-train a demo model"
        )
    world = make_world(seed)
    directory.mkdir(parents=True, exist_ok=True)
    total = round(megabytes * 1e6)
    remaining, index, is_cut = total, 0, False
    while remaining > 0.01 * total and not is_cut:
        text = book_text(world, seed, index)
        is_cut = len(text) > remaining  # the books are ASCII
        if is_cut:
            text = _cut(text, remaining)
        (directory / f"book_{index:04d}.txt").write_bytes(text.encode())
        remaining -= len(text)
        index += 1
    if (surplus := directory / f"book_{index:04d}.txt").exists():
        raise ValueError(
            f"{surplus} exists; a directory holds the books of one call only; "
            "delete it or choose another"
        )


def _chapter(daily: str, cast: Cast) -> list[str]:
    """Title and paragraphs of one day; `daily` continues the thread of the book."""
    dice = cast.dice
    events = dice.shuffled(_scenes_at(cast["spot"].name))[:_NUM_EVENTS]
    lessons = dice.shuffled(_LESSONS)[:_NUM_LESSONS]
    weather, (sky, later) = dice.pick(list(_DAYS["weather"].items()))
    day = cast.with_roles(weather=weather, sky=sky, later=later)
    paragraphs = narrate(_DAYS["morning"], day) + narrate(_DAYS["way_out"], day)
    paragraphs += narrate(daily, cast.with_roles())
    memories, titles = [], []
    for event in dice.shuffled(events + lessons):
        scene = cast.with_roles()
        paragraphs += narrate(event["template"], scene)
        memories.append(fill(event["memory"], scene))
        titles.append(sentence(event["title"], scene))
    day.update(first_memory=memories[0], last_memory=memories[-1])
    return [dice.pick(titles), *paragraphs, *narrate(_DAYS["evening"], day)]


def _scenes_at(spot: str) -> list[dict[str, Any]]:
    """The events that can happen at `spot`; without `where`, anywhere."""
    return [event for event in _EVENTS if spot in event.get("where", [spot])]


def _cut(text: str, num_bytes: int) -> str:
    """`text` up to the last sentence that ends within `num_bytes`, quotes closed."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text[:num_bytes])]
    closed = [end for end in ends if text.count('"', 0, end) % 2 == 0]
    return text[: closed[-1]] + "\n" if closed else ""
