"""All tasks about the world, as files in the official layouts.

The tasks have few labels. Most rows of dev and test depend on words that occur in the
books, but in no training text of the task. Results say nothing about English.
"""

import pathlib
from collections.abc import Sequence

import numpy as np

from gpt1_jax.storyworld.tasks import choice, layouts, pairs, sentences
from gpt1_jax.storyworld.tasks.rows import Row, Task, make_splits
from gpt1_jax.storyworld.world import make_world

_TASKS_STREAM = 2  # the first entropy word apart from the world's and the books'
_COUNTS = (512, 240, 160)  # rows of train, dev, test
_RACE_COUNTS = (1536, 240, 160)  # four answers take more labels to learn
_AX_COUNT = 120
# The released code cuts the 1,871 stories of the validation file into 1,497 for
# training and 374 for dev: finetune-transformer-lm datasets.py, `rocstories`.
_STORY_CLOZE_COUNTS = (1497, 374, 200)
_STORY_CLOZE_SPLIT_SEED = 3535999445

_GLUE = {
    "CoLA": sentences.COLA,
    "SST-2": sentences.SST2,
    "MRPC": pairs.MRPC,
    "QQP": pairs.QQP,
    "STS-B": pairs.STSB,
    "QNLI": pairs.QNLI,
    "RTE": pairs.RTE,
    "WNLI": pairs.WNLI,
}
_MNLI = {
    "train": (pairs.MNLI, 512),
    "dev_matched": (pairs.MNLI, 240),
    "dev_mismatched": (pairs.MNLI_MISMATCHED, 240),
    "test_matched": (pairs.MNLI, 160),
    "test_mismatched": (pairs.MNLI_MISMATCHED, 160),
}


def write_tasks(directory: pathlib.Path, *, seed: int) -> None:
    """Writes the tasks about the world of `seed`, a folder for each data set.

    Files, headers and columns are those of the official releases, so that readers of
    these read them. A pure function of the seed, file by file.

    Raises:  ValueError for a negative seed.
    """
    world = make_world(seed)

    def splits(stream: int, plan: dict[str, tuple[Task, int]]) -> dict[str, list[Row]]:
        return make_splits(plan, world, entropy=(_TASKS_STREAM, seed, stream))

    for stream, (folder, task) in enumerate(_GLUE.items()):
        layouts.write_glue(directory, folder, splits(stream, _plan(task)))
    layouts.write_mnli(directory, splits(20, _MNLI))
    ax = splits(21, {"train": (pairs.SNLI, 0), "AX": (pairs.SNLI, _AX_COUNT)})
    layouts.write_glue(directory, "AX", {"AX": ax["AX"]})
    layouts.write_snli(directory, splits(22, _plan(pairs.SNLI)))
    layouts.write_scitail(directory, splits(23, _plan(pairs.SCITAIL)))
    layouts.write_race(directory, splits(24, _plan(choice.RACE, _RACE_COUNTS)))
    stories = splits(25, _plan(choice.STORY_CLOZE, _STORY_CLOZE_COUNTS))
    layouts.write_story_cloze(directory, _joined(stories), stories["test"])
    layouts.write_dpr(directory, splits(26, _plan(choice.DPR)))


def _plan(task: Task, counts: Sequence[int] = _COUNTS) -> dict[str, tuple[Task, int]]:
    """The three usual splits."""
    names = ("train", "dev", "test")
    return {name: (task, n) for name, n in zip(names, counts, strict=True)}


def _joined(stories: dict[str, list[Row]]) -> list[Row]:
    """Joins train and dev in an order that the released code's split takes apart again.

    The split is train_test_split of scikit-learn: dev is the first of a permutation.
    """
    rows = stories["dev"] + stories["train"]
    permutation = np.random.RandomState(_STORY_CLOZE_SPLIT_SEED).permutation(len(rows))
    placed = dict(zip(permutation.tolist(), rows, strict=True))
    return [placed[i] for i in range(len(rows))]
