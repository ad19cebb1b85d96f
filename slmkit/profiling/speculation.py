"""What speculative decoding gains: its costs, its acceptance and its time beside the target alone, in turn."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from slmkit.model.cache import KVCache
from slmkit.model.decoder import Decoder
from slmkit.model.generation import generate
from slmkit.model.speculative import speculate
from slmkit.profiling.timing import measure_in_turn


def measure_speculation(target: Decoder, draft: Decoder, prompts: Sequence[Tensor], k: int, new_tokens: int,
                        repeats: int = 5, temperature: float = 1.0) -> dict[str, list[float]]:  # fmt: skip
    """Numbers for each of `prompts` [1, time], whose place is its seed, with `k` proposals of the draft a pass.

    acceptance: share of the proposals looked at that were kept.  tokens: for each pass of the target.  cost: a step of
    the draft, and verify: a pass of the target over k + 1 tokens, over a step of the target.  gain: time of the target
    alone over the time with the draft, for `new_tokens` tokens.  same: 1 where the greedy texts are the same.
    """
    found = {name: [] for name in ("acceptance", "tokens", "cost", "verify", "gain", "same")}
    for seed, ids in enumerate(prompts):
        end = ids.shape[1] + new_tokens
        passes = {"step": _pass(target, end, 1), "draft": _pass(draft, end, 1), "check": _pass(target, end, k + 1)}
        parts = measure_in_turn(passes, repeats=3 * repeats, device=ids.device)
        options = {"max_new_tokens": new_tokens, "temperature": temperature, "seed": seed}
        with_draft = partial(speculate, target, draft, ids, k=k, **options)
        works = {"alone": partial(generate, target, ids, **options), "draft": with_draft}
        times = measure_in_turn(works, repeats=repeats, device=ids.device)
        made = with_draft()
        greedy = speculate(target, draft, ids, new_tokens, k=k).ids, generate(target, ids, new_tokens)
        for name, value in (
            ("acceptance", made.acceptance),
            ("tokens", made.tokens_per_pass),
            ("cost", parts["draft"].median / parts["step"].median),
            ("verify", parts["check"].median / parts["step"].median),
            ("gain", times["alone"].median / times["draft"].median),
            ("same", float(torch.equal(*greedy))),
        ):
            found[name].append(value)
    return found


def _pass(model: Decoder, context: int, tokens: int):
    """A pass over the last `tokens` tokens of `context`."""
    weight = model.embedding.weight
    cache = KVCache(model.config, 1, context, dtype=weight.dtype, device=weight.device)
    ids = torch.zeros(1, tokens, dtype=torch.long, device=weight.device)

    @torch.inference_mode()
    def work():
        cache.length = context - tokens
        model(ids, cache)

    return work
