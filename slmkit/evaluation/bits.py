"""Bits per byte: how many bits a model needs for each byte of a text. It compares models of any vocabulary."""

import math

import torch
import torch.nn.functional as F

from slmkit.data.packing import TokenRow
from slmkit.model.decoder import Decoder


@torch.inference_mode()
def bits_per_byte(model: Decoder, row: TokenRow, context: int, *, stride: int | None = None, batch_size: int = 32,
                  max_tokens: int | None = None, precision: str = "fp32") -> float:  # fmt: skip
    """-log2 p(text) / bytes of the text, every token counted once. Lower is better; raw bytes cost 8.

    The row is read in windows of `context` tokens that move on by `stride` (default: half of `context`), so that all
    but the first tokens are predicted from at least `context - stride` tokens before them. The text's first token is
    predicted from a separator, and separators count as tokens to predict but not as bytes. `max_tokens` reads the
    start of the row only and takes its share of the bytes. `precision` is "fp32" or "bf16".
    """
    stride = stride or max(context // 2, 1)
    if not 0 < stride <= context:
        raise ValueError(f"stride = {stride} must be between 1 and context = {context}, or tokens would be left out")
    device = model.embedding.weight.device
    tokens = row.tokens[:max_tokens] if max_tokens else row.tokens
    # Every row ends with a separator, so its last token is the one to put before the first.
    text = torch.cat((row.tokens[-1:], tokens)).long().to(device)
    was_training = model.training
    model.eval()
    bits = 0.0
    starts = list(range(0, max(len(tokens) - (context - stride), 1), stride))
    for i in range(0, len(starts), batch_size):
        group = starts[i : i + batch_size]
        windows = [text[s : s + context + 1] for s in group]
        short = context + 1 - len(windows[-1])  # only the text's last window can be short
        windows[-1] = F.pad(windows[-1], (0, short))
        batch = torch.stack(windows)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits = model(batch[:, :-1])
        losses = F.cross_entropy(logits.flatten(0, 1).float(), batch[:, 1:].flatten(), reduction="none")
        losses = losses.unflatten(0, (len(group), context)).double()
        if short:
            losses[-1, -short:] = 0
        # What an earlier window has predicted already is not counted again.
        losses[1 if i == 0 else 0 :, : context - stride] = 0
        bits += losses.sum().item() / math.log(2)
    model.train(was_training)
    return bits / (row.text_bytes * len(tokens) / len(row.tokens))
