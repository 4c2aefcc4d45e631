"""The model card of an exported folder: its README.md."""

from pathlib import Path
from typing import Any

from gpt1_jax.data.text import openai_bpe
from gpt1_jax.data.text.tokenizers import Tokenizer
from gpt1_jax.files import write_atomically
from gpt1_jax.interop import tokenizer_json
from gpt1_jax.interop.weights import Weights

_AUTO_CLASSES = {
    "": "AutoModelForCausalLM",
    "choice": "OpenAIGPTDoubleHeadsModel",
    "classes": "AutoModelForSequenceClassification",
}
_CLASSES = (
    "The head reads the last token before the padding. Its bias, which this class does "
    "not have, is part of the last layer norm's bias: the classes have the logits of "
    "the trained model, but the next token's logits of this folder are not those of "
    "the language model."
)
_CHOICE = """The two texts of a choice are the context and one answer. The head reads \
the tokens at `mc_token_ids`; without them transformers reads the last position, which \
may be padding."""
_CHOICE_CODE = """```python
contexts, answers = ["the boat"] * 2, ["sails away", "is a river bird"]
batch = tokenizer(contexts, answers, padding=True, return_tensors="pt")
last = batch.attention_mask.sum(-1) - 1
# One example: a row for each answer. Causal attention needs no mask.
out = model(batch.input_ids[None], mc_token_ids=last[None])
scores = out.mc_logits[0].softmax(-1)
```"""


def write(
    found: Weights,
    directory: Path,
    *,
    tokenizer: Tokenizer | None,
    result: dict[str, Any],
    step: int,
    has_specials: bool = False,
) -> None:
    """Writes README.md: the model, how to load it, its results and the limits.

    Args: result: the result.json of the run. step: the checkpoint that was exported.
          has_specials: the tokenizer adds the special tokens of fine-tuning.
    """
    model, name = found.model, _AUTO_CLASSES[found.head]
    classes = f"AutoTokenizer, {name}" if tokenizer else name
    parts = [
        "---\nlibrary_name: transformers\n---\n# GPT-1, trained with gpt1_jax",
        f"{model.num_layers} layers, width {model.width}, {model.num_heads} heads, "
        f"context of {model.context_length} tokens, {found.num_rows:,} rows of tokens; "
        f"checkpoint of step {step:,}.",
        f"```python\nfrom transformers import {classes}\n\n"
        + ('tokenizer = AutoTokenizer.from_pretrained("FOLDER")\n' * bool(tokenizer))
        + f'model = {name}.from_pretrained("FOLDER")\n```',
        *_results(result),
        *_about_head(found, has_specials),
        *_about_tokenizer(tokenizer),
    ]
    write_atomically(directory / "README.md", "\n\n".join(parts) + "\n")


def _results(result: dict[str, Any]) -> list[str]:
    metrics = result.get("metrics") or {}
    rows = [
        f"| `{name}` | {value:.6g} |"
        for name, value in sorted(metrics.items())
        if isinstance(value, int | float)
    ]
    if not rows:
        return []
    head = f"## Results\n\nOf the finished run, after {result.get('steps', 0):,} steps."
    return [head, "\n".join(["| metric | value |", "|---|---|", *rows])]


def _about_head(found: Weights, has_specials: bool) -> list[str]:
    if not found.head:
        return []
    if has_specials:
        one, two = tokenizer_json.ONE_TEXT, tokenizer_json.TWO_TEXTS
        layout = f"The tokenizer writes one text as `{one}`, two as `{two}`."
        layout = layout.replace("$", "")
    else:
        layout = (
            "No special tokens are added by themselves; the input must have those of "
            "the head's training."
        )
    if found.head == "classes":
        return [f"## Head\n\n{layout} {_CLASSES}"]
    code = [_CHOICE_CODE] if has_specials else []
    return [f"## Head\n\n{layout} {_CHOICE}", *code]


def _about_tokenizer(tokenizer: Tokenizer | None) -> list[str]:
    if tokenizer is None:
        return ["There is no tokenizer: the converted model had none."]
    missing = [*tokenizer_json.NOT_EXPRESSED]
    if isinstance(tokenizer, openai_bpe.OpenAITokenizer):
        missing += tokenizer_json.NOT_EXPRESSED_OF_RELEASE
    rows = "\n".join(f"- {rule}" for rule in missing)
    share = tokenizer_json.EQUAL_LINES_PERCENT[tokenizer.kind]
    return [
        "## Tokenizer\n\nText is cleaned and lower-cased. The token of a line break is "
        "named bos, eos and pad; it is not added by itself, so begin a text with it "
        "where it begins a document. With `skip_special_tokens=True` transformers "
        f"omits line breaks from decoded text. On at least {share} % of the lines of "
        "novels the ids are those of gpt1_jax. This tokenizer.json omits these "
        "cleaning rules of gpt1_jax:",
        rows,
    ]
