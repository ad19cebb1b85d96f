"""Speculative decoding: a small draft proposes several tokens, the target checks all of them in one pass.

Leviathan, Kalman and Matias 2023 (Fast inference from transformers via speculative decoding); Chen et al. 2023
(Accelerating large language model decoding with speculative sampling). The text comes out as if the target had written
it alone: draws from the target's own distribution, and with greedy choice the same tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from slmkit.model.cache import KVCache
from slmkit.model.decoder import Decoder
from slmkit.model.generation import _check_sampling, _checked, generate
from slmkit.profiling.timing import measure_in_turn


@dataclass(frozen=True)
class Speculation:
    """A text and how it came about."""

    ids: Tensor  # [1, time + new tokens], the prompt included
    passes: int  # of the target; each yields its accepted proposals and one token of its own
    proposed: int
    accepted: int
    rejected: int  # passes that ended at a proposal refused; those behind it were not looked at

    @property
    def acceptance(self) -> float:
        """The share of the proposals looked at that were accepted; not a number when none was."""
        looked_at = self.accepted + self.rejected
        return self.accepted / looked_at if looked_at else float("nan")

    @property
    def tokens_per_pass(self) -> float:
        return (self.accepted + self.passes) / self.passes


@torch.inference_mode()
def speculate(target: Decoder, draft: Decoder, ids, max_new_tokens: int, *, k: int = 4, temperature: float = 0.0,
              seed: int | None = None) -> Speculation:  # fmt: skip
    """Continues ids [1, time] by `max_new_tokens` tokens, `k` proposals of the draft for each pass of the target.

    The target reads several tokens at once where `generate` reads one. That rounds differently, so greedy tokens may
    differ from `generate` where two logits agree to the last digits. Raises ValueError for models of different
    vocabularies, k or max_new_tokens below 1, a batch, or a text too long for either model.
    """
    ids = _checked(target, ids)
    _check_sampling(temperature, None, None)
    _check_pair(target, draft, ids, max_new_tokens, k)
    caches = [_cache(model, ids.shape[1] + max_new_tokens - 1) for model in (target, draft)]
    generator = None if seed is None else torch.Generator(ids.device).manual_seed(seed)
    text, end = ids[0], ids.shape[1] + max_new_tokens
    passes = proposed = accepted = rejected = 0
    while len(text) < end:
        # The pass itself adds a token, so the last one needs no proposal.
        wanted = min(k, end - len(text) - 1)
        guess, q = propose(draft, caches[1], text, wanted, temperature, generator)
        p = distribution(read(target, caches[0], torch.cat((text, guess)), wanted + 1), temperature)
        count, token = verify(p, q, guess, generator)
        text = torch.cat((text, guess[:count], token[None]))
        for cache in caches:  # back to what both have read of the text; the rest is overwritten later
            cache.length = min(cache.length, len(text) - 1)
        passes, proposed, accepted = passes + 1, proposed + wanted, accepted + count
        rejected += count < wanted
    return Speculation(text[None], passes, proposed, accepted, rejected)


def propose(draft: Decoder, cache: KVCache, text: Tensor, k: int, temperature: float, generator):
    """`k` tokens [k] that continue `text`, and the distributions [k, vocab] that they were drawn from."""
    distributions, start = [], len(text)
    for _ in range(k):
        q = distribution(read(draft, cache, text, 1), temperature)
        text = torch.cat((text, torch.multinomial(q, 1, generator=generator)[0]))
        distributions.append(q)
    return text[start:], torch.cat(distributions) if distributions else None


def verify(p: Tensor, q: Tensor | None, guess: Tensor, generator=None) -> tuple[int, Tensor]:
    """How many proposals are accepted, and the target's own token behind them.

    p [k + 1, vocab] are the target's distributions, q [k, vocab] those that `guess` [k] was drawn from. A proposal x is
    kept with probability min(1, p(x) / q(x)). The first refused one is replaced by a draw from max(0, p - q), scaled to
    sum to one: together they are a draw from p (Leviathan et al. 2023, appendix A.1).
    """
    for i, token in enumerate(guess):
        if torch.rand((), generator=generator, device=p.device, dtype=p.dtype) * q[i, token] >= p[i, token]:
            rest = (p[i] - q[i]).clamp(min=0)
            rest = rest if rest.any() else p[i]  # p and q differ by rounding alone
            return i, torch.multinomial(rest, 1, generator=generator)[0]
    return len(guess), torch.multinomial(p[-1], 1, generator=generator)[0]


def read(model: Decoder, cache: KVCache, text: Tensor, last: int) -> Tensor:
    """Logits [last, vocab] after each of the last tokens of `text`, reading what the cache does not hold yet."""
    return model.logits(model.hidden(text[None, cache.length :], cache)[0, -last:])


def distribution(logits: Tensor, temperature: float) -> Tensor:
    """Probabilities [..., vocab] in double precision; at temperature 0 all on the likeliest token, the greedy choice.

    With those, p(x) / q(x) is 1 where both models choose the same token and 0 elsewhere: greedy is no special case.
    """
    if temperature == 0:
        return torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).double()
    return (logits.double() / temperature).softmax(-1)


def expected_tokens(acceptance: float, k: int) -> float:
    """Tokens that a pass of the target yields on average, (1 - a^(k+1)) / (1 - a) (Leviathan et al. 2023, equation 1).

    It takes every proposal to be accepted with the same probability a, whatever came before it.
    """
    if not 0 <= acceptance <= 1:
        raise ValueError(f"acceptance is {acceptance}; it is a share from 0 to 1")
    if k < 1:
        raise ValueError(f"k is {k}; the draft must propose at least 1 token")
    return sum(acceptance**i for i in range(k + 1))  # the same sum, and k + 1 at a = 1


def expected_speedup(acceptance: float, k: int, cost: float) -> float:
    """How many times as fast as the target alone, when a step of the draft takes `cost` times a step of the target.

    (1 - a^(k+1)) / ((1 - a)(k · cost + 1)), theorem 3.8 there. A pass over k + 1 tokens is taken to last as long as a
    pass over one, which holds while reading the weights decides.
    """
    if cost < 0:
        raise ValueError(f"cost is {cost}; it is a share of the target's time, 0 or more")
    return expected_tokens(acceptance, k) / (k * cost + 1)


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
    cache = _cache(model, context)
    ids = torch.zeros(1, tokens, dtype=torch.long, device=model.embedding.weight.device)

    @torch.inference_mode()
    def work():
        cache.length = context - tokens
        model(ids, cache)

    return work


def _cache(model: Decoder, capacity: int) -> KVCache:
    weight = model.embedding.weight
    return KVCache(model.config, 1, capacity, dtype=weight.dtype, device=weight.device)


def _check_pair(target: Decoder, draft: Decoder, ids: Tensor, max_new_tokens: int, k: int):
    batch, time = ids.shape
    if batch != 1:
        raise ValueError(f"ids are {batch} rows; speculative decoding takes one text at a time")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens}; ask for at least 1")
    if k < 1:
        raise ValueError(f"k is {k}; the draft must propose at least 1 token")
    if draft.config.vocab_size != target.config.vocab_size:
        raise ValueError(
            f"the draft knows {draft.config.vocab_size} tokens and the target {target.config.vocab_size}; both must "
            "share one tokenizer"
        )
    for name, model in (("target", target), ("draft", draft)):
        if time + max_new_tokens - 1 > model.config.max_context:
            raise ValueError(
                f"{time} tokens and {max_new_tokens} new ones are too many for the {name}, whose max_context is "
                f"{model.config.max_context}; shorten the prompt or ask for fewer new tokens"
            )
