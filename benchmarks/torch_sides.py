"""The training steps in PyTorch that train_step compares with, by name.

`torch` is the twin, eager; `torch_compile` the same compiled; `transformers` is its
OpenAIGPT, eager. Names that end in `_bf16` are under bfloat16 autocast, else float32.
All have dropout, clipping and AdamW.
"""

import os
from collections.abc import Callable

import torch
from torch import nn

from benchmarks import torch_twin
from gpt1_jax.config import ModelConfig, OptimConfig, RunConfig


def make(
    name: str, config: RunConfig, device: str = "cpu"
) -> tuple[int, Callable[[torch.Tensor], torch.Tensor]]:
    """How many parameters a side has, and its update from tokens_NL, to the loss.

    Args: name: as above. device: of PyTorch; tokens are there.
    """
    torch.set_num_threads(os.cpu_count() or 1)
    torch.set_float32_matmul_precision("high")  # a CPU has no lower one
    torch.manual_seed(config.seed)
    if name.startswith("transformers"):
        model = _OpenAIGPT(config.model, config.data.vocab_size)
    else:
        model = torch_twin.Twin(config.model, config.data.vocab_size)
    model = model.to(device)
    parameters = list(model.parameters())
    loss_of = torch.compile(model) if name.startswith("torch_compile") else model
    autocast = torch.autocast(device, torch.bfloat16, enabled=name.endswith("bf16"))
    step = _make_train_step(loss_of, parameters, config.optim, autocast)
    return sum(parameter.numel() for parameter in parameters), step


class _OpenAIGPT(nn.Module):
    """transformers' model of the same sizes; dropout is on the sum of embeddings."""

    def __init__(self, cfg: ModelConfig, vocab_size: int):
        super().__init__()
        import transformers

        self.model = transformers.OpenAIGPTLMHeadModel(
            transformers.OpenAIGPTConfig(
                vocab_size=vocab_size,
                n_positions=cfg.context_length,
                n_embd=cfg.width,
                n_layer=cfg.num_layers,
                n_head=cfg.num_heads,
                embd_pdrop=cfg.embedding_dropout,
                resid_pdrop=cfg.residual_dropout,
                attn_pdrop=cfg.attention_dropout,
            )
        )

    def forward(self, tokens_NL: torch.Tensor) -> torch.Tensor:
        """The mean loss, in nats, of predicting each token but a row's first."""
        inputs_NL = tokens_NL[:, :-1].contiguous()
        logits_NLV = self.model(inputs_NL).logits
        targets_NL = tokens_NL[:, 1:]
        return nn.functional.cross_entropy(
            logits_NLV.flatten(0, 1).float(), targets_NL.flatten()
        )


def _make_train_step(
    loss_of: Callable[[torch.Tensor], torch.Tensor],
    parameters: list[nn.Parameter],
    cfg: OptimConfig,
    autocast: torch.autocast,
) -> Callable[[torch.Tensor], torch.Tensor]:
    """An update from tokens_NL, as a function that returns the loss.

    Differs: torch.optim.AdamW corrects the moments where openai_adam corrects the rate;
    the rate stays at its peak.
    """
    optimizer = torch.optim.AdamW(
        [
            {
                "params": [p for p in parameters if p.ndim > 1],
                "weight_decay": cfg.weight_decay,
            },
            {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
        ],
        lr=cfg.peak_learning_rate,
        betas=(cfg.b1, cfg.b2),
        eps=cfg.eps,
        fused=True,
    )

    def train_step(tokens_NL: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        with autocast:
            loss = loss_of(tokens_NL)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, cfg.clip_norm)
        optimizer.step()
        return loss.detach()

    return train_step
