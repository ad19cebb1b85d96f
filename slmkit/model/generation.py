"""Generation: read the prompt once (prefill), then one token at a time from the cache (decode)."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from slmkit.model.cache import KVCache
from slmkit.model.decoder import Decoder


def generate(model: Decoder, ids, max_new_tokens: int, **options) -> Tensor:
    """Continues each row of ids [batch, time]; returns [batch, time + n] with n ≤ max_new_tokens.

    Greedy by default. Options: `temperature` (0 is greedy), `top_k`, `top_p`, `stop_tokens`, `padding` [batch] (counts
    of left padding, see `left_pad`), `seed`. After a row's stop token the row is filled with that token's id, and all
    ends when every row has stopped. Raises ValueError when the text would pass the model's max_context.
    """
    ids = _checked(model, ids)
    return torch.cat((ids, *(token[:, None] for token in stream(model, ids, max_new_tokens, **options))), dim=1)


@torch.inference_mode()
def stream(model: Decoder, ids, max_new_tokens: int, *, temperature: float = 0.0, top_k: int | None = None,
           top_p: float | None = None, stop_tokens: Sequence[int] = (), padding: Tensor | None = None,
           seed: int | None = None) -> Iterator[Tensor]:  # fmt: skip
    """Like `generate`, but yields each step's tokens [batch] as they come."""
    ids = _checked(model, ids)
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens}; ask for at least 1")
    _check_sampling(temperature, top_k, top_p)
    (batch, time), weight = ids.shape, model.embedding.weight
    if padding is not None:
        padding = torch.as_tensor(padding, device=weight.device)
        if padding.shape != (batch,) or not ((padding >= 0) & (padding < time)).all():
            raise ValueError(
                f"padding must count 0 to {time - 1} tokens for each of {batch} rows; got {padding.tolist()}"
            )
    # The last token drawn is never read, so the cache needs no room for it.
    cache = KVCache(model.config, batch, time + max_new_tokens - 1, dtype=weight.dtype, device=weight.device)
    generator = None if seed is None else torch.Generator(weight.device).manual_seed(seed)
    stops = torch.tensor(list(stop_tokens), device=weight.device) if stop_tokens else None
    last = None  # the tokens of the previous step, [batch]
    for _ in range(max_new_tokens):
        hidden = model.hidden(ids, cache, padding)[:, -1]
        token = sample(model.logits(hidden), temperature, top_k, top_p, generator)
        if stops is not None:
            if last is not None:
                token = torch.where(torch.isin(last, stops), last, token)
            last = token
        yield token
        if stops is not None and torch.isin(token, stops).all():
            return
        ids = token[:, None]


def sample(logits: Tensor, temperature=0.0, top_k=None, top_p=None, generator=None) -> Tensor:
    """Draws one token id from each row of logits [batch, vocab] -> [batch].

    The temperature comes first, then top_k keeps the k likeliest, then top_p the fewest tokens whose probabilities
    reach p (nucleus sampling, Holtzman et al. 2020).
    """
    if temperature == 0:
        return logits.argmax(-1)
    logits = logits.float()
    logits = (logits - logits.amax(-1, keepdim=True)) / temperature  # the same probabilities, and no overflow
    if top_k is not None and top_k < logits.shape[-1]:
        logits = logits.masked_fill(logits < logits.topk(top_k).values[:, -1:], float("-inf"))
    probabilities = logits.softmax(-1)
    if top_p is not None:
        ordered, order = probabilities.sort(descending=True)
        before = ordered.cumsum(-1) - ordered  # probability of all likelier tokens
        ordered[before >= top_p] = 0
        probabilities = torch.zeros_like(probabilities).scatter(-1, order, ordered)
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0]


def left_pad(rows: Sequence[Sequence[int]], pad_token: int = 0) -> tuple[Tensor, Tensor]:
    """Rows of unequal length -> ids [batch, longest] padded at the left, and the padding counts [batch]."""
    if not rows or not all(rows):
        raise ValueError("there is no row, or a row without a token; give each row at least one token")
    longest = max(map(len, rows))
    counts = [longest - len(row) for row in rows]
    ids = [[pad_token] * count + list(row) for count, row in zip(counts, rows, strict=True)]
    return torch.tensor(ids), torch.tensor(counts)


def _checked(model: Decoder, ids) -> Tensor:
    try:
        ids = torch.as_tensor(ids, device=model.embedding.weight.device)
    except (ValueError, TypeError) as error:
        raise ValueError(f"ids are not rows of equal length ({error}); left_pad makes them so") from None
    if ids.dim() != 2 or 0 in ids.shape or ids.is_floating_point():
        raise ValueError(f"ids must be whole numbers of shape [batch, time], both at least 1; got {list(ids.shape)}")
    if int(ids.min()) < 0 or int(ids.max()) >= model.config.vocab_size:
        raise ValueError(
            f"token ids run from {int(ids.min())} to {int(ids.max())}; the model knows 0 to "
            f"{model.config.vocab_size - 1}. Was the text encoded with another tokenizer?"
        )
    return ids


def _check_sampling(temperature, top_k, top_p):
    if not temperature >= 0:
        raise ValueError(f"temperature is {temperature}; it must be 0 (greedy) or above")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}; keep at least 1 token")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}; it is a probability above 0 and at most 1")
