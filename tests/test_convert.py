"""The command convert, and the workdirs that it makes."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import gpt1_jax
from gpt1_jax import convert
from gpt1_jax.config import ModelConfig, RunConfig, TaskConfig
from gpt1_jax.data.tasks import Task, registry
from gpt1_jax.data.text import openai_bpe, tokenizer_training, tokenizers
from gpt1_jax.inference import classifier
from gpt1_jax.interop import huggingface, openai, tokenizer_json, weights
from gpt1_jax.jobs import finetune, pretrain
from gpt1_jax.workdirs import model_store

MODEL = ModelConfig(
    num_layers=1, width=64, num_heads=1, mlp_width=256, context_length=64
)
needs_spacy = pytest.mark.skipif(
    importlib.util.find_spec("spacy") is None, reason="needs the extra `openai`"
)


def bpe() -> openai_bpe.OpenAITokenizer:
    """Returns a tokenizer of letters, inside and at the end of words, and one merge."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = ["<unk>", *letters, *(f"{c}</w>" for c in letters), "ab", "\n</w>"]
    id_of = {piece: number for number, piece in enumerate(pieces)}
    return openai_bpe.OpenAITokenizer(json.dumps(id_of).encode(), b"#v\na b\n")


def random_weights(num_rows: int) -> weights.Weights:
    rng = np.random.default_rng(0)
    shapes = weights.expected_shapes(MODEL, num_rows)
    return weights.Weights(
        {
            path: 0.1 * rng.standard_normal(shape, dtype=np.float32)
            for path, shape in shapes.items()
        },
        MODEL,
    )


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    """Weights in OpenAI's format, with their tokenizer."""
    directory = tmp_path_factory.mktemp("release")
    openai.write(random_weights(bpe().vocab_size), directory)
    bpe().save(directory)
    return directory


@pytest.fixture(scope="module")
def run(run_command):
    """(input, output, from_ or to=format) -> output, written by the command."""

    def run(given: Path, output: Path, **direction: str) -> Path:
        flags = {name.rstrip("_"): value for name, value in direction.items()}
        run_command(convert, input=given, output=output, **flags)
        return output

    return run


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def workdir(release, tmp_path_factory, run):
    return run(release, tmp_path_factory.mktemp("run") / "gpt1", from_="openai")


def test_release_is_exported_byte_for_byte(release, workdir, tmp_path, run):
    again = run(workdir, tmp_path / "again", to="openai")
    assert contents(again) == contents(release)


@needs_spacy
def test_release_without_a_tokenizer_is_converted_and_loading_names_the_files(
    release, tmp_path, capsys, run
):
    bare = tmp_path / "bare"
    shutil.copytree(release, bare)
    for name in openai_bpe.FILE_NAMES[0]:
        (bare / name).unlink()
    made = run(bare, tmp_path / "made", from_="openai")
    assert f"into {made / 'tokenizer'}" in " ".join(capsys.readouterr().out.split())
    assert contents(run(made, tmp_path / "again", to="openai")) == contents(bare)
    with pytest.raises(
        FileNotFoundError, match=r"made/tokenizer; .*encoder_bpe_40000.json and vocab_"
    ):
        gpt1_jax.load(made)
    bpe().save(made / "tokenizer")
    assert gpt1_jax.load(made).generate("ab", 3, temperature=0.0)


@needs_spacy
def test_converted_workdir_can_be_moved_and_scores_and_generates(workdir, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(workdir, moved)
    model = gpt1_jax.load(moved)
    assert model.step == 0
    assert model.config.data.tokenizer == "openai"
    assert model.config.model == MODEL
    (scored,) = model.score(["ab cd"])
    assert len(scored["logprobs"]) == len(scored["tokens"]) - 1 == 3
    assert isinstance(model.generate("ab", 5, seed=1), str)


@needs_spacy
def test_converted_model_can_be_fine_tuned(workdir, make_tuning_config, tmp_path, run):
    finetune.run(make_tuning_config("sst2", workdir), tmp_path / "tuned")
    tuned = classifier.load(tmp_path / "tuned")
    assert tuned.task_model.tokenizer.fingerprint == bpe().fingerprint
    # OpenAI's format has neither special tokens nor a task's head.
    out = run(tmp_path / "tuned", tmp_path / "out", to="openai")
    found, _ = openai.read(out)
    assert found.num_rows == bpe().vocab_size
    # transformers' format has special tokens, and classes without a bias.
    out = run(tmp_path / "tuned", tmp_path / "hf", to="huggingface")
    found = huggingface.read(out)
    assert found.num_rows == bpe().vocab_size + 3
    assert found.head == "classes"


def test_an_architecture_that_the_formats_cannot_express_is_refused(
    workdir, tmp_path, run, monkeypatch
):
    # As if `width` were a new field for which the formats have one value.
    monkeypatch.setattr(convert, "_EXPORTED", convert._EXPORTED - {"model.width"})
    message = r"has config.model.width=\d+; the formats have a place for 768 only; con"
    for to in ("openai", "huggingface"):
        with pytest.raises(ValueError, match=message):
            run(workdir, tmp_path / "out", to=to)
        assert not (tmp_path / "out").exists()


def test_to_huggingface_and_back(workdir, tmp_path, run):
    out = run(workdir, tmp_path / "hf", to="huggingface")
    assert {path.name for path in out.iterdir()} == {
        "config.json",
        "model.safetensors",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "README.md",
    }
    back = run(out, tmp_path / "back", from_="huggingface")
    one, other = model_store.restore(workdir), model_store.restore(back)
    assert one.tokenizer.fingerprint == other.tokenizer.fingerprint
    for path, value in weights.flatten(one.params).items():
        np.testing.assert_array_equal(weights.flatten(other.params)[path], value)


@needs_spacy
def test_multiple_choice_head_is_kept_in_both_directions(workdir, tmp_path, run):
    found = random_weights(bpe().vocab_size + 3)
    head = {
        "head/kernel": np.ones((64, 1), np.float32),
        "head/bias": np.array([2.0], np.float32),
    }
    both = weights.Weights({**found.params, **head}, MODEL, "choice")
    huggingface.write(both, tmp_path / "hf", newline_id=bpe().newline_id)
    tokenizer_json.write(bpe(), tmp_path / "hf", context_length=64)
    made = run(tmp_path / "hf", tmp_path / "made", from_="huggingface")
    assert gpt1_jax.load(made).generate("ab", 2)
    again = contents(run(made, tmp_path / "again", to="huggingface"))
    assert "OpenAIGPTDoubleHeadsModel" in again.pop("README.md").decode()
    assert again == contents(tmp_path / "hf")


def test_trained_tokenizer_is_exported_and_imported(pretrained_workdir, tmp_path, run):
    out = run(pretrained_workdir, tmp_path / "hf", to="huggingface")
    made = run(out, tmp_path / "made", from_="huggingface")
    fingerprint = tokenizers.load(pretrained_workdir / "tokenizer").fingerprint
    assert model_store.restore(made).tokenizer.fingerprint == fingerprint


@pytest.mark.parametrize(
    ("kind", "lowercase"), [("sentencepiece", True), ("bpe", True), ("bpe", False)]
)
def test_the_kind_of_an_imported_tokenizer_is_recorded(kind, lowercase, tmp_path, run):
    ours = tokenizer_training.train(
        ["the quick brown fox jumps over the lazy dog " * 50],
        315,
        kind,
        lowercase=lowercase,
    )
    huggingface.write(random_weights(315), tmp_path / "hf")
    if lowercase:
        tokenizer_json.write(ours, tmp_path / "hf", context_length=64)
    else:
        ours.save(tmp_path / "hf")
    made = run(tmp_path / "hf", tmp_path / "made", from_="huggingface")
    data = model_store.read_config(made).data
    assert (data.tokenizer, data.vocab_size, data.lowercase) == (kind, 315, lowercase)


def test_identity_depends_on_the_weights(release, workdir, tmp_path, run):
    other = tmp_path / "other"
    shutil.copytree(release, other)
    piece = np.load(other / "params_3.npy")
    np.save(other / "params_3.npy", piece + 1)
    made = run(other, tmp_path / "made", from_="openai")
    assert model_store.identity(made) != model_store.identity(workdir)


@pytest.mark.parametrize(
    ("direction", "message"),
    [
        ({}, "--from=None and --to=None; one of them"),
        ({"from_": "openai", "to": "openai"}, "--from=openai and --to=openai; one of"),
    ],
)
def test_exactly_one_direction_is_required(direction, message, release, tmp_path, run):
    with pytest.raises(ValueError, match=message):
        run(release, tmp_path / "out", **direction)


def test_refused_conversions_neither_overwrite_nor_leave_files(release, tmp_path, run):
    (tmp_path / "there").mkdir()
    (tmp_path / "there/file").write_text("mine")
    with pytest.raises(ValueError, match="there exists; nothing is overwritten"):
        run(release, tmp_path / "there", from_="openai")
    with pytest.raises(FileNotFoundError, match=r"no directory .*nowhere; check"):
        run(tmp_path / "nowhere", tmp_path / "out", from_="openai")
    with pytest.raises(FileNotFoundError, match=r"no config.json in"):
        run(release, tmp_path / "out", from_="huggingface")
    assert {path.name for path in tmp_path.iterdir()} == {"there"}


@pytest.mark.parametrize("num_more", [-1, 17])
def test_tokenizer_added_later_must_fit_the_model(num_more, tmp_path, run):
    openai.write(random_weights(bpe().vocab_size + num_more), tmp_path / "bare")
    made = run(tmp_path / "bare", tmp_path / "made", from_="openai")
    bpe().save(made / "tokenizer")
    with pytest.raises(
        ValueError, match=r"tokenizer has 55 entries, the model \d\d rows of tokens"
    ):
        gpt1_jax.load(made)


def test_norm_scales_near_0_give_a_warning(release, tmp_path, capsys, run):
    run(release, tmp_path / "made", from_="openai")
    assert "pieces are in another order" in " ".join(capsys.readouterr().out.split())
    found = random_weights(bpe().vocab_size)
    params = {
        path: 1 + value if path.endswith("/scale") else value
        for path, value in found.params.items()
    }
    openai.write(weights.Weights(params, MODEL), tmp_path / "good")
    run(tmp_path / "good", tmp_path / "good_made", from_="openai")
    assert "another order" not in capsys.readouterr().out


def test_model_that_does_not_fit_the_format_leaves_no_files(
    pretrained_workdir, tmp_path, run
):
    # OpenAI's format implies a head width of 64; here it is 8.
    with pytest.raises(ValueError, match=r"2 heads of width 8; .* --to huggingface"):
        run(pretrained_workdir, tmp_path / "out", to="openai")
    assert not list(tmp_path.iterdir())


def test_tokenizer_larger_than_the_model_is_refused(release, tmp_path, run):
    small = tmp_path / "small"
    openai.write(random_weights(bpe().vocab_size - 1), small)
    bpe().save(small)
    with pytest.raises(ValueError, match=r"tokenizer has 55 entries, the model 54 row"):
        run(small, tmp_path / "out", from_="openai")


def test_regression_head_is_not_exported_as_multiple_choice(
    pretrained_workdir, make_tuning_config, run, tmp_path, capsys
):
    """It reads the sum of both orders of two texts, not one text per choice."""
    config = make_tuning_config("stsb", pretrained_workdir, task__graded_target="mse")
    finetune.run(config, tmp_path / "tuned")
    out = run(tmp_path / "tuned", tmp_path / "hf", to="huggingface")
    assert "the task's head is left out" in " ".join(capsys.readouterr().out.split())
    assert "head/kernel" not in huggingface.read(out).params


def test_the_row_of_an_own_task_is_read_from_the_workdir(run, tmp_path):
    """The process that converts has not registered the task."""
    found = random_weights(bpe().vocab_size + 3)
    head = {
        "head/kernel": np.eye(64, 2, dtype=np.float32),
        "head/bias": np.zeros(2, np.float32),
    }
    whole = weights.Weights({**found.params, **head}, MODEL)
    config = RunConfig(model=MODEL, task=TaskConfig(name="tone"))
    model_store.create(tmp_path / "tuned", config, whole.tree, bpe(), {})
    task = Task(
        name="tone",
        kind="single",
        classes=("calm", "loud"),
        metrics=("accuracy",),
        train="",
        dev={},
        test={},
    )
    registry.save(task, tmp_path / "tuned")
    out = run(tmp_path / "tuned", tmp_path / "openai", to="openai")
    assert openai.read(out)[0].num_rows == bpe().vocab_size
    out = run(tmp_path / "tuned", tmp_path / "hf", to="huggingface")
    fields = json.loads((out / "config.json").read_text())
    assert fields["id2label"] == {"0": "calm", "1": "loud"}


@needs_spacy
def test_foreign_rows_of_special_tokens_are_not_copied(
    make_tuning_config, run, tmp_path, capsys
):
    given = tmp_path / "given"
    huggingface.write(random_weights(bpe().vocab_size + 2), given)
    tokenizer_json.write(bpe(), given, context_length=64)
    workdir = run(given, tmp_path / "run", from_="huggingface")
    finetune.run(make_tuning_config("sst2", workdir), tmp_path / "tuned")
    said = " ".join(capsys.readouterr().out.split())
    assert "dropped 2 token rows after its vocabulary" in said
    assert "3 rows of embed/token" in said


def test_pretraining_in_a_converted_workdir_is_refused(
    pretrained_workdir, run, tmp_path
):
    given = run(pretrained_workdir, tmp_path / "hf", to="huggingface")
    made = run(given, tmp_path / "made", from_="huggingface")
    with pytest.raises(ValueError, match=r"holds the result of the job convert; pre"):
        pretrain.run(model_store.read_config(made), made)


def test_all_checkpoints_are_exported_by_step(pretrained_workdir, run, tmp_path):
    out = run(
        pretrained_workdir, tmp_path / "all", to="huggingface", all_checkpoints=True
    )
    assert {path.name for path in out.iterdir()} == {"3", "6"}
    for step in (3, 6):
        given = pretrained_workdir / "checkpoints" / str(step)
        alone = run(given, tmp_path / str(step), to="huggingface")
        assert contents(out / str(step)) == contents(alone)
        assert f"step {step}" in (alone / "README.md").read_text()
    assert contents(out / "3") != contents(out / "6")


@pytest.mark.parametrize(
    ("dtype", "bits"), [("float32", 0), ("float16", 11), ("bfloat16", 8)]
)
def test_weights_are_rounded_to_the_asked_format(
    dtype, bits, pretrained_workdir, run, tmp_path
):
    out = run(pretrained_workdir, tmp_path / "hf", to="huggingface", dtype=dtype)
    assert json.loads((out / "config.json").read_text())["dtype"] == dtype
    given = weights.flatten(model_store.restore(pretrained_workdir).params)
    for path, value in huggingface.read(out).params.items():
        if bits:
            np.testing.assert_allclose(value, given[path], rtol=2**-bits, atol=1e-7)
            assert path.endswith(("bias", "scale")) or (value != given[path]).any()
        else:
            np.testing.assert_array_equal(value, given[path])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"to": "openai", "dtype": "float16"}, "--dtype=float16; other formats than f"),
        ({"from_": "openai", "dtype": "float16"}, "--dtype=float16; other formats"),
        ({"from_": "openai", "all_checkpoints": True}, "--all_checkpoints with --from"),
    ],
)
def test_flags_of_another_direction_are_refused(flags, message, release, tmp_path, run):
    with pytest.raises(ValueError, match=message):
        run(release, tmp_path / "out", **flags)


def test_card_tells_results_and_what_the_tokenizer_lacks(
    pretrained_workdir, run, tmp_path
):
    out = run(pretrained_workdir, tmp_path / "hf", to="huggingface")
    card = (out / "README.md").read_text()
    result = json.loads((pretrained_workdir / "result.json").read_text())
    assert f"| `eval/loss` | {result['metrics']['eval/loss']:.6g} |" in card
    assert "1 layers, width 16, 2 heads" in card
    for rule in tokenizer_json.NOT_EXPRESSED:
        assert rule in card


def test_generation_has_no_end(pretrained_workdir, run, tmp_path):
    out = run(pretrained_workdir, tmp_path / "hf", to="huggingface")
    newline = tokenizers.load(pretrained_workdir / "tokenizer").newline_id
    for name in ("config.json", "generation_config.json"):
        fields = json.loads((out / name).read_text())
        assert fields["bos_token_id"] == fields["pad_token_id"] == newline
        assert "eos_token_id" not in fields


def test_a_heads_bias_is_folded_without_changing_the_classes(
    pretrained_workdir, make_tuning_config, run, tmp_path
):
    finetune.run(make_tuning_config("sst2", pretrained_workdir), tmp_path / "tuned")
    given = weights.flatten(model_store.restore(tmp_path / "tuned").params)
    found = weights.Weights(
        {**given, "head/bias": np.array([0.5, -2.0], np.float32)}, MODEL
    )
    folded = weights.fold_bias(found)
    last = "block_00/norm_2/bias"
    h_D = np.arange(16, dtype=np.float32)
    before = h_D @ found.params["head/kernel"] + found.params["head/bias"]
    shift_D = folded.params[last] - found.params[last]
    after = (h_D + shift_D) @ folded.params["head/kernel"]
    np.testing.assert_allclose(after, before, rtol=1e-4)
    assert not folded.params["head/bias"].any()
    equal = {"head/kernel": np.ones((16, 2), np.float32)}
    assert weights.fold_bias(weights.Weights({**found.params, **equal}, MODEL)) is None
    out = run(tmp_path / "tuned", tmp_path / "hf", to="huggingface")
    again = huggingface.read(out)
    assert again.head == "classes"
    assert again.params["head/kernel"].shape == (16, 2)
    made = run(out, tmp_path / "made", from_="huggingface")
    third = contents(run(made, tmp_path / "third", to="huggingface"))
    assert third["model.safetensors"] == contents(out)["model.safetensors"]
