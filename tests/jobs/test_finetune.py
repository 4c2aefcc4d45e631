"""Fine-tuning as a notebook runs it: tiny models on storyworld's official layouts."""

import json
import shutil
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest

from gpt1_jax import submit
from gpt1_jax.config import DataConfig
from gpt1_jax.data import cached
from gpt1_jax.data.tasks import batches, task_data
from gpt1_jax.data.tasks.examples import Example
from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.errors import UserError
from gpt1_jax.evaluation import predictions
from gpt1_jax.inference import classifier, task_logits
from gpt1_jax.interop import glue_submission
from gpt1_jax.jobs import evaluate, finetune
from gpt1_jax.workdirs import checkpoint, metrics_log, model_store
from tests.processes import Command

ROOT = Path(__file__).parents[2]
TRAINABLE = [name for name, task in TASKS.items() if task.train]


@pytest.fixture(scope="module", autouse=True)
def _compile_little():
    """One length for all sequences: most tasks share their programs."""
    unit = batches._LENGTH_UNIT
    batches._LENGTH_UNIT = 128
    yield
    batches._LENGTH_UNIT = unit


@pytest.fixture(scope="module")
def tune(make_config, pretrained_workdir, tmp_path_factory):
    """(task, fields) -> the workdir of a finished run of 2 steps, and its result."""
    finished = {}

    def tune(task: str, **fields):
        key = (task, *sorted(fields.items()))
        if key not in finished:
            workdir = tmp_path_factory.mktemp(task) / "run"
            defaults = {
                "job": "finetune",
                "task__name": task,
                "data__task_dir": "storyworld",
                "init__path": str(pretrained_workdir),
                "train__batch_size": 4,
                "train__eval_batch_size": 64,
                "train__max_steps": 2,
                "train__log_every_steps": 1,
                "optim__schedule": "linear",
                "optim__warmup_steps": 0,
                "optim__peak_learning_rate": 1e-3,
            }
            config = make_config(**defaults | fields)
            finished[key] = workdir, finetune.run(config, workdir)
        return finished[key]

    return tune


def test_thirteen_tasks_can_be_trained_on():
    assert len(TRAINABLE) == 13


@pytest.mark.parametrize("name", TRAINABLE)
def test_every_task_trains_scores_and_predicts(name, tune):
    task = TASKS[name]
    workdir, result = tune(name)
    assert json.loads((workdir / "result.json").read_text()) == result
    for metric in task.metrics:
        assert -1 <= result["metrics"][f"eval/{metric}"] <= 1
        assert f"last_eval/{metric}" in result["metrics"]
        for infix in task.dev if len(task.dev) > 1 else ():
            assert f"eval/{infix}/{metric}" in result["metrics"]
    written = {path.stem for path in (workdir / "predictions").iterdir()}
    riders = {other.name for other in TASKS.values() if other.predicted_by == name}
    assert written == {*task.dev.values(), *task.test.values(), *riders}
    for split in task.dev.values():
        rows = predictions.read(workdir, split)
        assert [row.index for row in rows] == list(range(len(rows)))
        for row in rows:
            assert type(row.label) is type(row.prediction)
            assert sum(row.probabilities) == pytest.approx(1)
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["step"] for row in rows] == [1, 2]
    assert {"train/task_loss", "train/lm_loss"} <= set(rows[0])


def test_scores_of_the_dev_file_follow_from_the_predictions(tune):
    workdir, result = tune("sst2")
    rows = predictions.read(workdir, "dev")
    right = sum(row.label == row.prediction for row in rows)
    assert result["metrics"]["eval/accuracy"] == right / len(rows)
    assert result["metrics"]["best_step"] == 2


def test_lost_scores_of_the_best_step_are_computed_again(tune, tmp_path, monkeypatch):
    workdir, _ = tune("rte", train__eval_every_steps=1)
    copy = shutil.copytree(workdir, tmp_path / "run")
    for name in ("result.json", "metrics.jsonl"):
        (copy / name).unlink()
    monkeypatch.setattr(checkpoint.Checkpoints, "best_step", lambda self: 1)
    again = finetune.run(model_store.read_config(workdir), copy)
    first, last = metrics_log.read(workdir / "metrics.jsonl")
    assert first["eval/accuracy"] != last["eval/accuracy"]
    for name, value in metrics_log.scores(first).items():
        assert again["metrics"][name] == value
    for name, value in metrics_log.scores(last).items():
        assert again["metrics"][f"last_{name}"] == value
    assert again["metrics"]["best_step"] == 1


@pytest.fixture(scope="module")
def score(make_config, tune, tmp_path_factory):
    """(task, fields) -> the result of the job evaluate on a finished run."""

    def score(task: str, **fields):
        defaults = {"job": "evaluate", "init__path": str(tune(task)[0])}
        config = make_config(**defaults | fields)
        return evaluate.run(config, tmp_path_factory.mktemp("evaluate") / "run")

    return score


@pytest.mark.parametrize("name", ["stsb", "cola"])
def test_a_score_is_the_same_to_the_last_bit_for_any_batch_size(
    name, score, tune, monkeypatch
):
    _, tuned = tune(name)
    expected = {
        key: value for key, value in tuned["metrics"].items() if key.startswith("eval/")
    }
    at_once = []
    make = task_logits.TaskLogits.__init__

    def spy(self, *args, **kwargs):
        make(self, *args, **kwargs)
        at_once.append(self._batch_size)

    monkeypatch.setattr(task_logits.TaskLogits, "__init__", spy)
    for batch_size in (1, 7, 32, 48):
        found = score(name, train__eval_batch_size=batch_size)
        assert found["metrics"] == expected
    assert at_once == [16, 16, 32, 48]  # chunks of 16 rows a device are its unit


def test_a_score_is_the_same_to_the_last_bit_on_eight_devices(
    make_config, tune, tmp_path
):
    def start(devices: int) -> Command:
        return Command(
            [
                "main",
                f"--config={ROOT}/experiments/evaluate.py:dev",
                f"--config.init.path={tune('stsb')[0]}",
                f"--config.data.cache_dir={make_config().data.cache_dir}",
                f"--workdir={tmp_path / str(devices)}",
            ],
            ROOT,
            {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"},
        )

    metrics = {}
    for devices, process in [(n, start(n)) for n in (1, 8)]:
        output, _ = process.communicate()
        assert f"devices: {devices} x cpu" in output
        result = json.loads((tmp_path / str(devices) / "result.json").read_text())
        metrics[devices] = result["metrics"]
    assert metrics[1] == metrics[8]


def test_similarity_is_symmetric_to_the_bit(tune):
    model = classifier.load(tune("stsb")[0])
    pairs = [("the boat sank", "a cat"), ("it was warm . she ran", "the boat")]
    one, other = (
        model.predict([Example(pair[::order], None) for pair in pairs])
        for order in (1, -1)
    )
    assert one == other
    assert one[0].prediction != one[1].prediction


def test_rows_are_the_models_own_and_padding_is_none_of_them(tune):
    """The job's logits, of a padded batch, are those of each sequence alone."""
    model = classifier.load(tune("rte")[0])
    examples = [Example(("the boat sank " * n, "a cat"), None) for n in (1, 3, 2)]
    records = model.task_model.records(examples)
    found = model.task_model.batched_logits.logits(model.params, records, (24, 128))
    head = model.params["head"]
    backbone = {k: v for k, v in model.params.items() if k != "head"}
    for row, bounds in enumerate(records.bounds_RA1):
        tokens_NL = records.tokens[bounds[0] : bounds[1]][None]
        h_NLD = model.task_model.model.apply(
            {"params": backbone}, tokens_NL, method="encode"
        )
        expected = np.asarray(h_NLD)[0, -1] @ head["kernel"] + head["bias"]
        np.testing.assert_allclose(found[row], expected, rtol=1e-4, atol=1e-5)


def test_without_pre_training_the_same_sizes_start_fresh(tune, pretrained_workdir):
    still = {"optim__peak_learning_rate": 1e-30, "train__max_steps": 1}
    trained = model_store.restore(pretrained_workdir).params
    taken, fresh = (
        model_store.restore(tune("rte", init__num_layers=n, **still)[0]).params
        for n in (-1, -2)
    )
    rows = len(trained["embed"]["token"])
    for name in ("embed", "block_00"):
        ours = {**taken[name]}
        if name == "embed":
            ours["token"] = ours["token"][:rows]
        jax.tree.map(np.testing.assert_array_equal, ours, trained[name])
    assert (fresh["embed"]["token"][:rows] != trained["embed"]["token"]).mean() > 0.9


def test_from_scratch_a_tokenizer_is_learnt_from_the_books(tune):
    workdir, result = tune("rte", init__path="none")
    assert "eval/accuracy" in result["metrics"]
    assert (workdir / "tokenizer/sentencepiece.model").is_file()


def test_a_finished_run_is_only_reported(tune, make_config, capsys):
    workdir, result = tune("rte")
    config = classifier.load(workdir).task_model.config
    before = (workdir / "metrics.jsonl").read_bytes()
    assert finetune.run(config, workdir) == result
    assert "is finished: dev accuracy" in capsys.readouterr().out
    assert (workdir / "metrics.jsonl").read_bytes() == before


def test_an_interrupted_run_goes_on_to_the_same_bits(tune, tmp_path, make_config):
    workdir, result = tune("rte", train__checkpoint_every_steps=1)
    broken = tmp_path / "run"
    shutil.copytree(workdir, broken)
    for name in ("result.json", "checkpoints/2"):
        path = broken / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    config = classifier.load(workdir).task_model.config
    again = finetune.run(config, broken)
    assert again["metrics"] == result["metrics"]
    ours, theirs = (classifier.load(path).params for path in (broken, workdir))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task__name": "rtee"}, r"unknown task 'rtee'.*did you mean rte\?"),
        ({"task__name": "ax"}, "'ax' has no training data.*fine-tune mnli"),
        ({"task__name": "dpr"}, "'dpr' has no training data.*zero-shot"),
        ({"data__task_dir": ""}, "config.data.task_dir is empty"),
        ({"data__task_dir": "/nowhere"}, "'/nowhere' is not a directory"),
        ({"init__path": "/nowhere"}, "no run in /nowhere"),
        (
            {"init__path": "none", "data__corpus": ""},
            "init.path=none, and config.data.corpus is empty; a pre-trained workdir",
        ),
        ({"init__num_layers": 2}, "num_layers=2; the model in .* has 1 layers"),
        ({"train__batch_size": 4096}, "training examples fill no batch"),
    ],
)
def test_mistakes_are_told_in_one_line(fields, message, tune):
    fields = {"task__name": "rte"} | fields
    with pytest.raises(UserError, match=message):
        tune(fields["task__name"], **fields)


def break_dev(directory: Path, lines: list[str] | None) -> None:
    """Makes `lines` RTE's dev set, or leaves the task without one."""
    dev = directory / "RTE/dev.tsv"
    if lines is None:
        dev.unlink()
    else:
        dev.write_text("".join(f"{line}\n" for line in lines))


RTE_HEADER = "index\tsentence1\tsentence2\tlabel"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (None, r"has no file for split dev of rte; RTE/dev.tsv is expected there; "),
        ([], r"dev.tsv is empty; "),
        (["a\tb", "1\t2"], r"dev.tsv: line 1: the columns are a, b; sentence1"),
        (
            ["index\tsentence1\tsentence2", "0\tIt is.\tIt was."],
            r"dev.tsv: line 1: no labels: column label is missing",
        ),
        (
            [RTE_HEADER, "0\tIt is.\tIt was.\tneutral"],
            r"dev.tsv: line 2: label 'neutral'",
        ),
    ],
    ids=["missing file", "empty", "wrong columns", "unlabelled", "a third label"],
)
def test_broken_data_is_told_in_one_line(lines, message, tune, tmp_path, make_config):
    shutil.copytree(
        cached.storyworld_tasks(make_config().data) / "RTE", tmp_path / "RTE"
    )
    break_dev(tmp_path, lines)
    with pytest.raises(UserError, match=message) as error:
        tune("rte", data__task_dir=str(tmp_path))
    assert len(str(error.value).splitlines()) == 1


def test_nine_runs_make_a_submission(tune, tmp_path):
    workdirs = [str(tune(task)[0]) for task in glue_submission.MODELS]
    output = tmp_path / "submission.zip"
    submit._FLAGS(["submit", f"--output={output}"])
    submit.main(workdirs)
    with zipfile.ZipFile(output) as archive:
        assert set(archive.namelist()) == set(glue_submission.FILES)


def test_a_split_without_labels_can_not_be_scored(score):
    with pytest.raises(UserError, match=r"split test of rte: .* without a label"):
        score("rte", task__split="test")


def test_a_split_that_the_task_lacks_is_refused(score):
    with pytest.raises(UserError, match=r"split=dev, but ax has no dev set; its spl"):
        score("mnli", task__name="ax", task__split="dev")


def test_evaluation_reads_the_data_that_it_names(score, tmp_path, make_config):
    found = score("rte")
    with pytest.raises(UserError, match=f"{tmp_path} has no file for split dev of rte"):
        score("rte", data__task_dir=str(tmp_path))
    rte = cached.storyworld_tasks(make_config().data) / "RTE"
    shutil.copytree(rte, tmp_path / "RTE")
    lines = (rte / "dev.tsv").read_text().splitlines(keepends=True)
    (tmp_path / "RTE/dev.tsv").write_text("".join(lines[:4]))
    few = score("rte", data__task_dir=str(tmp_path))["metrics"]["eval/accuracy"]
    assert few in (0, 1 / 3, 2 / 3, 1)
    assert found["metrics"]["eval/accuracy"] * 240 == pytest.approx(
        round(found["metrics"]["eval/accuracy"] * 240)
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"source": "tfds", "tfds_dir": "/own"}),
        ({"cache_dir": "/c"}, {"source": "tfds", "tfds_dir": "/own"}),
        ({"task_dir": "/other"}, {"source": "files", "task_dir": "/other"}),
        (
            {"source": "tfds", "tfds_dir": "/other"},
            {"source": "tfds", "tfds_dir": "/other"},
        ),
    ],
)
def test_the_models_own_data_is_read_unless_another_is_named(given, expected):
    own = DataConfig(source="tfds", tfds_dir="/own")
    found = task_data.select_data(own, DataConfig(**given))
    for name, value in expected.items():
        assert getattr(found, name) == value
    assert found.cache_dir == DataConfig(**given).cache_dir


def test_a_model_of_storyworlds_books_has_storyworlds_tasks():
    own = DataConfig(corpus="storyworld", storyworld_seed=5)
    found = task_data.select_data(own, DataConfig())
    assert (found.task_dir, found.storyworld_seed) == ("storyworld", 5)


def copied(workdir: Path, to: Path) -> Path:
    return Path(shutil.copytree(workdir, to))


def test_a_finished_run_needs_its_model_no_more(
    tune, make_config, pretrained_workdir, tmp_path
):
    source = copied(pretrained_workdir, tmp_path / "source")
    workdir, result = tune("wnli", init__path=str(source))
    config = make_config(job="finetune", **read_fields(workdir), init__path=str(source))
    shutil.rmtree(source)
    assert finetune.run(config, workdir) == result
    (workdir / "result.json").unlink()  # and one that goes on neither
    assert finetune.run(config, workdir)["metrics"] == result["metrics"]


def read_fields(workdir: Path) -> dict:
    """The fields of a run of `tune`, but for the path of its model."""
    config = json.loads((workdir / "config.json").read_text())
    groups = ("task", "train", "optim", "data")
    return {
        f"{group}__{name}": value
        for group in groups
        for name, value in config[group].items()
    }


def test_a_finished_run_of_a_model_that_is_no_more_is_refused(
    tune, make_config, pretrained_workdir, tmp_path
):
    source = copied(pretrained_workdir, tmp_path / "source")
    workdir, _ = tune("qnli", init__path=str(source))
    config = make_config(job="finetune", **read_fields(workdir), init__path=str(source))
    shutil.rmtree(source / "checkpoints/6")  # now its newest step is 3
    with pytest.raises(UserError, match=r"with another model in config.init.path; "):
        finetune.run(config, workdir)


def test_a_test_set_that_comes_later_is_predicted_later(
    tune, make_config, pretrained_workdir, tmp_path, capsys
):
    sst2 = cached.storyworld_tasks(make_config().data) / "SST-2"
    data = tmp_path / "data"
    shutil.copytree(sst2, data / "SST-2")
    (data / "SST-2/test.tsv").unlink()
    fields = {"data__task_dir": str(data), "init__path": str(pretrained_workdir)}
    workdir, result = tune("sst2", **fields)
    assert not (workdir / "predictions/test.jsonl").exists()
    assert "sst2 has no test split here; not predicted" in capsys.readouterr().out
    shutil.copy(sst2 / "test.tsv", data / "SST-2")
    config = make_config(job="finetune", **read_fields(workdir) | fields)
    assert finetune.run(config, workdir) == result
    with_test, _ = tune("sst2", init__path=str(pretrained_workdir))
    later, at_once = (predictions.read(path, "test") for path in (workdir, with_test))
    assert later == at_once


def test_a_damaged_test_set_is_found_before_training(tune, make_config, tmp_path):
    shutil.copytree(
        cached.storyworld_tasks(make_config().data) / "SST-2", tmp_path / "SST-2"
    )
    (tmp_path / "SST-2/test.tsv").write_text("index\tsentence\n0\n")
    with pytest.raises(UserError, match=r"test.tsv: line 2: 1 column; 2 are expected"):
        tune("sst2", data__task_dir=str(tmp_path))


def test_another_tasks_model_is_refused(score):
    with pytest.raises(UserError, match="was fine-tuned on rte; leave the name out"):
        score("rte", task__name="sst2")


def test_what_a_model_predicts_at_the_end():
    def named(task):
        return [(t.name, split, name) for t, split, name in task_data.test_splits(task)]

    assert named(TASKS["rte"]) == [("rte", "test", "test")]
    assert named(TASKS["mnli"]) == [
        ("mnli", "test_matched", "test_matched"),
        ("mnli", "test_mismatched", "test_mismatched"),
        ("ax", "test", "ax"),
    ]
