"""Live beside transformers' OpenAIGPT, at the paper's size, on random weights.

Needs the extra [parity]; without it these tests are skipped.
"""

import dataclasses
import json
import re
import shlex
import subprocess
import sys

import jax
import numpy as np
import pytest

import gpt1_jax
from gpt1_jax import convert
from gpt1_jax.data.tasks import Example, registry
from gpt1_jax.data.text import openai_bpe, tokenizers
from gpt1_jax.inference import decode
from gpt1_jax.interop import huggingface, tokenizer_json
from gpt1_jax.jobs import finetune, pretrain
from gpt1_jax.models import heads
from gpt1_jax.models.transformer import Transformer

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TOKENS = np.random.default_rng(0).integers(0, 40478, (2, 128))


@pytest.fixture(scope="module")
def theirs():
    """The paper's model in transformers, its random weights large enough to matter."""
    torch.manual_seed(0)
    config = transformers.OpenAIGPTConfig(initializer_range=0.05)
    model = transformers.OpenAIGPTLMHeadModel(config).eval()
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim == 1:
                value.add_(0.1 * torch.randn_like(value))
    return model


@pytest.fixture(scope="module")
def saved(theirs, tmp_path_factory):
    directory = tmp_path_factory.mktemp("saved")
    theirs.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def ours(saved):
    """The model that was saved, and its parameters, as we read them."""
    found = huggingface.read(saved)
    cfg = dataclasses.replace(found.model, compute_dtype="float32")
    return Transformer(cfg, found.num_rows), found.tree


def test_logits_agree_at_full_size(theirs, ours):
    model, params = ours
    with torch.no_grad():
        expected = theirs(torch.tensor(TOKENS)).logits.numpy()
    found = jax.jit(model.apply)({"params": params}, TOKENS.astype(np.int32))
    assert np.abs(expected).max() > 3
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_greedy_continuations_are_equal(theirs, ours):
    model, params = ours
    prompts = [TOKENS[0, :5], TOKENS[1, :17]]
    greedy = decode.Sampling(temperature=0.0)
    found = decode.Decoder(model, 512).generate(params, prompts, 20, greedy)
    for prompt, new in zip(prompts, found, strict=True):
        expected = theirs.generate(
            torch.tensor(prompt[None]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=20,
            do_sample=False,
            pad_token_id=0,
        )
        np.testing.assert_array_equal(new, expected[0, len(prompt) :].numpy())


def load_all(model_class, directory):
    """A model of transformers whose parameters all came from the files, and no more."""
    model, told = model_class.from_pretrained(directory, output_loading_info=True)
    assert not any(told[key] for key in told), told
    return model.eval()


def test_what_we_write_is_what_they_read(theirs, saved, tmp_path):
    huggingface.write(huggingface.read(saved), tmp_path)
    model = load_all(transformers.OpenAIGPTLMHeadModel, tmp_path)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=0)


def test_double_heads_agree_and_come_back(tmp_path):
    torch.manual_seed(1)
    config = transformers.OpenAIGPTConfig(
        vocab_size=103, n_positions=24, n_embd=64, n_layer=2, n_head=4, num_labels=1
    )
    model = transformers.OpenAIGPTDoubleHeadsModel(config).eval()
    model.save_pretrained(tmp_path / "theirs")
    found = huggingface.read(tmp_path / "theirs")
    tokens = np.random.default_rng(0).integers(0, 103, (3, 2, 11))
    lengths = np.array([[11, 7], [5, 11], [11, 11]])
    with torch.no_grad():
        out = model(torch.tensor(tokens), mc_token_ids=torch.tensor(lengths - 1))
    cfg = dataclasses.replace(found.model, compute_dtype="float32")
    h = Transformer(cfg, 103).apply(
        {"params": heads.backbone_of(found.tree)},
        tokens.reshape(6, 11).astype(np.int32),
        method="encode",
    )
    logits = heads.task_logits(
        found.tree["head"], heads.gather_last_token(h, lengths), is_choice=True
    )
    np.testing.assert_allclose(logits, out.mc_logits.numpy(), atol=1e-5)
    huggingface.write(found, tmp_path / "ours")
    again = load_all(transformers.OpenAIGPTDoubleHeadsModel, tmp_path / "ours")
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)


SST2 = registry.named("sst2")
LINES = [
    "The old boat, and the river.\nThen\u2014nothing.",
    "\u201cDon't,\u201d he said; \u2018it's Mr. Smith\u2019s...\u2019",
    "na\u00efve caf\u00e9 \U0001f600 42 _x_",
]


@pytest.fixture(scope="module")
def exported(request, make_config, tmp_path_factory, run_command):
    """(workdir, folder) of a tiny model with the tokenizer that the test names."""
    workdir = tmp_path_factory.mktemp("exported") / "run"
    config = make_config(
        data__tokenizer=request.param,
        train__batch_size=8,
        train__max_steps=2,
        train__eval_every_steps=0,
        optim__warmup_steps=1,
    )
    pretrain.run(config, workdir)
    folder = workdir.with_name("hf")
    run_command(convert, to="huggingface", input=workdir, output=folder)
    return workdir, folder


@pytest.mark.parametrize("exported", ["sentencepiece", "bpe"], indirect=True)
def test_auto_classes_give_our_ids_logits_and_greedy_text(exported, tmp_path):
    workdir, folder = exported
    ours = gpt1_jax.load(workdir)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    newline = ours.tokenizer.newline_id
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == newline
    assert tokenizer.pad_token_id == newline
    for line in LINES:
        ids = ours.tokenizer.encode(line)
        assert tokenizer(line)["input_ids"] == ids.tolist()
        decoded = tokenizer.decode(ids.tolist())
        assert decoded == ours.tokenizer.decode(ids)
        with torch.no_grad():
            logits = model(torch.tensor(ids[None].astype(np.int64))).logits[0]
        expected = ours.logits(ids[None].astype(np.int32))[0]
        np.testing.assert_allclose(logits.numpy(), expected, atol=1e-4)
    pipe = transformers.pipeline("text-generation", model=model, tokenizer=tokenizer)
    prompt = "the boat"
    (found,) = pipe(prompt, max_new_tokens=20, do_sample=False, return_full_text=False)
    expected = ours.generate(prompt, 20, temperature=0.0)
    # transformers 5 leaves out line breaks, as they are named eos.
    assert found["generated_text"].split() == expected.split()
    tokenizer.save_pretrained(tmp_path)
    again = tokenizers.load(tmp_path)
    assert again.fingerprint == ours.tokenizer.fingerprint


@pytest.fixture
def export_tuned(exported, make_tuning_config, run_command, tmp_path):
    """Function: the name of a task -> the workdir of its model, and the folder."""

    def export(task):
        tuned, folder = tmp_path / "tuned", tmp_path / "hf"
        finetune.run(make_tuning_config(task, exported[0]), tuned)
        run_command(convert, to="huggingface", input=tuned, output=folder)
        return tuned, folder

    return export


@pytest.mark.parametrize("exported", ["sentencepiece"], indirect=True)
def test_classes_agree_with_their_pipeline(export_tuned):
    tuned, folder = export_tuned("sst2")
    pipe = transformers.pipeline("text-classification", str(folder), top_k=None)
    texts = ["the boat is good", "a sad day"]
    ours = gpt1_jax.load_classifier(tuned).predict(texts)
    for row, found in zip(ours, pipe(texts), strict=True):
        scores = {one["label"]: one["score"] for one in found}
        named = [scores[label] for label in SST2.classes]
        np.testing.assert_allclose(named, row.probabilities, atol=1e-5)


@pytest.mark.parametrize("exported", ["sentencepiece"], indirect=True)
def test_the_code_of_the_card_scores_the_answers_as_we_do(export_tuned):
    tuned, folder = export_tuned("storycloze")
    card = (folder / "README.md").read_text().replace("FOLDER", str(folder))
    names: dict = {}
    for code in re.findall(r"```python\n(.*?)```", card, re.DOTALL):
        exec(code, names)
    context, answers = names["contexts"][0], tuple(names["answers"])
    example = Example(answers, None, context=context)
    (ours,) = gpt1_jax.load_classifier(tuned).predict([example])
    mask = names["batch"].attention_mask
    assert mask[0].sum() != mask[1].sum()
    found = names["scores"].detach().numpy()
    np.testing.assert_allclose(found, ours.probabilities, atol=1e-5)


def test_the_released_kind_of_tokenizer_has_our_ids_and_comes_back(tmp_path):
    pytest.importorskip("spacy")
    letters = "abcdefghijklmnopqrstuvwxyz.'\""
    pieces = ["<unk>", *letters, *(f"{c}</w>" for c in letters), "th", "the</w>"]
    pieces.append("\n</w>")
    id_of = {piece: number for number, piece in enumerate(pieces)}
    merges = b"#version: 0.2\nt h\nth e</w>\n"
    ours = openai_bpe.OpenAITokenizer(json.dumps(id_of).encode(), merges)
    tokenizer_json.write(ours, tmp_path / "ours", context_length=64)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert theirs.get_vocab() == id_of
    for text in LINES:
        assert theirs(text)["input_ids"] == ours.encode(text).tolist()
    theirs.save_pretrained(tmp_path / "theirs")
    assert tokenizers.load(tmp_path / "theirs").fingerprint == ours.fingerprint


def test_pickled_weights_become_readable_by_the_command_that_is_told(theirs, tmp_path):
    small = transformers.OpenAIGPTConfig(
        vocab_size=31, n_positions=8, n_embd=16, n_layer=1, n_head=2
    )
    model = transformers.OpenAIGPTLMHeadModel(small)
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="is a pickle") as error:
        huggingface.read(tmp_path)
    command = str(error.value).split("convert it: ")[1]
    python, *arguments = shlex.split(command)
    assert python == "python"
    subprocess.run([sys.executable, *arguments], check=True)
    assert huggingface.read(tmp_path).num_rows == 31
