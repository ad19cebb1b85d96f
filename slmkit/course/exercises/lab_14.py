"""Checkers of lab 14, latency and memory."""

import math
from statistics import median, quantiles

import torch

from slmkit.config import ModelConfig
from slmkit.course.checking import Wrong, call, compare, exercise
from slmkit.model.counting import count_parameters, kv_cache_bytes, weight_bytes
from slmkit.profiling.roofline import decode_cost

SMALL = {"vocab_size": 100, "d_model": 24, "n_layers": 4, "n_heads": 6, "n_kv_heads": 2, "d_ff": 32}


@exercise("14/bytes_per_token")
def bytes_per_token(answer):
    config, context, batch, size = ModelConfig(**SMALL, tied_embeddings=False), 50, 5, 2
    count, cache = count_parameters(config), kv_cache_bytes(config, 1, torch.int8) * context  # numbers, a byte each
    table, read = count.token_embedding, count.total - count.token_embedding

    def total(weights, numbers):
        return size * (weights / batch + numbers)

    what = "the bytes of a token, with a head of its own and five sequences,"
    compare(call(answer, config, context, batch, size), total(read, cache), what, {
        "the lookup table was counted; of a table that is not the head, a token reads one row":
            total(read + table, cache),
        "the head is missing: it gives the logits, so all of it is read": total(read - table, cache),
        "one pass writes a token for each sequence, and they share the weights: divide those by the batch":
            size * (read + cache),
        "the caches are not shared: each sequence reads its own, so only the weights are divided by the batch":
            size * (read + cache) / batch,
        "that is the pass, which writes a token for each sequence; divide by the batch": size * (read + batch * cache),
        "every sequence has a cache of its own, and a token is of one sequence": total(read, batch * cache),
        "the cache is missing": total(read, 0),
        "the weights are missing": size * cache,
        "the cache holds keys and values, two numbers where you counted one": total(read, cache / 2),
        "only the key/value heads are cached, n_kv_heads of them": total(read, 3 * cache),
        "every layer has a cache of its own; n_layers is missing": total(read, cache / 4),
        "every token of the context was kept; context is missing": total(read, cache / context),
        "those are numbers; each takes bytes_per_number bytes": total(read, cache) / size,
    })  # fmt: skip
    tied, single = ModelConfig(**SMALL), call(answer, ModelConfig(**SMALL), context, 1, 4)
    compare(single, decode_cost(tied, context).bytes, "the bytes of a token with a tied matrix", {
        "a tied matrix is the head too, so all of it is read": decode_cost(tied, context).bytes - 4 * table,
        "a tied matrix is one matrix; it was counted twice": decode_cost(tied, context).bytes + 4 * table,
    })  # fmt: skip


@exercise("14/turning_prompt")
def turning_prompt(answer):
    weights, activations, size, flops, bandwidth = 1000.0, 10.0, 4, 800.0, 50.0

    one = (size * (weights + activations) / bandwidth) * flops / 2 / weights

    def turn(double=2.0, moved=activations, size=size):
        return (size * weights / bandwidth) / (double * weights / flops - size * moved / bandwidth)

    compare(call(answer, weights, activations, size, flops, bandwidth), turn(), "the turning prompt", {
        "a weight takes a multiplication and an addition for each token, two FLOPs; you counted one": turn(1.0),
        "the activations are missing: each token moves its own, so the bytes grow with the prompt too": turn(moved=0.0),
        "the activations move for each token, not once": one,
        "you left out the bytes that a number takes": turn(size=1),
        "the activations take bytes_per_number bytes each, as the weights do": turn(moved=activations / size),
        "that is the intensity where the limits meet; the prompt length is asked for": flops / bandwidth,
        "upside down: that is one over the length": 1 / turn(),
    })  # fmt: skip
    never = call(answer, 1000.0, 400.0, 4, 800.0, 50.0)
    below = (4 * 1000 / 50) / (2 * 1000 / 800 - 4 * 400 / 50)
    what = "with so many activations that each token's bytes take longer than its FLOPs, the length"
    compare(never, math.inf, what, {
        "no prompt is long enough, so infinity is asked for; a negative length says nothing": below,
        "no prompt is long enough, so infinity is asked for; the sign alone was dropped": -below,
        "no prompt is long enough, so infinity is asked for, not nought": 0.0,
    })  # fmt: skip


@exercise("14/memory_parts")
def memory_parts(answer):
    config, tokens, rows, size = ModelConfig(**SMALL, sharing="block_pairs"), 70, 9, 4
    weights, cache = weight_bytes(config), kv_cache_bytes(config, tokens, torch.float32)
    table, logits = size * config.vocab_size * config.d_model, size * rows * config.vocab_size
    got = call(answer, config, tokens, rows, size)
    if not isinstance(got, (tuple, list)) or len(got) != 3:
        raise Wrong("three numbers are asked for: the bytes of the weights, of the cache, and of the logits")
    compare(got[0], weights, "the bytes of the weights", {
        "a shared block's weights are stored once; count_parameters counts them so": weight_bytes(ModelConfig(**SMALL)),
        "a tied matrix is stored once": weights + table,
        "those are the parameters; each takes bytes_per_number bytes": weights // size,
        "the embedding is missing: it is stored, though a token reads one row of it": weights - table,
    })  # fmt: skip
    compare(got[1], cache, "the bytes of the cache", {
        "that is half: keys and values are kept, and blocks that share weights do not share what they have read":
            cache // 2,
        "only the key/value heads are cached, n_kv_heads of them, not all n_heads": 3 * cache,
        "those are numbers of the cache; each takes bytes_per_number bytes": cache // size,
        "the cache is allocated for all `tokens`, whatever `rows` are read at once": cache // tokens * rows,
    })  # fmt: skip
    compare(got[2], logits, "the bytes of the logits", {
        "the logits of `rows` positions are held at once, not of the whole context": logits // rows * tokens,
        "each position has a logit for every entry of the vocabulary, not one for each number of the model's width":
            size * rows * config.d_model,
        "that is the head's matrix, width times vocabulary; the logits are positions times vocabulary": table,
        "those are numbers; each takes bytes_per_number bytes": logits // size,
        "that is one position; `rows` of them are held at once": logits // rows,
    })  # fmt: skip


@exercise("14/steady")
def steady(answer):
    seconds = [1.06, 0.98, 1.0, 1.02, 3.0, 1.1, 0.96, 1.04]  # one slow repeat; out of order
    middle = median(seconds)

    def spread(method="inclusive"):
        low, _, high = quantiles(seconds, n=4, method=method)
        return (high - low) / middle

    try:
        got = call(answer, list(seconds), 0.25)
    except ValueError:
        raise Wrong("one slow repeat of eight was refused; the middle half of the repeats is what counts") from None
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        raise Wrong("two numbers are asked for: the median, and the spread as a share of it")
    ordered = sorted(seconds)
    compare(got[0], middle, "the median", {
        "that is the mean, which one slow repeat pulls up": sum(seconds) / 8,
        "that is the fastest repeat": min(seconds),
        "the repeats were not sorted first": (seconds[3] + seconds[4]) / 2,
        "of an even number, the median is the mean of the two in the middle": ordered[4],
        "of an even number, the median is the mean of the two in the middle: that is the lower one": ordered[3],
    })  # fmt: skip
    compare(got[1], spread(), "the spread", {
        "those are seconds; divide by the median": spread() * middle,
        "that is from the fastest to the slowest; take the middle half": (max(seconds) - min(seconds)) / middle,
        "that is half the spread; the lab's tables print it so, and the whole is asked for": spread() / 2,
        "that is the standard deviation, which one slow repeat pulls up":
            float(torch.tensor(seconds, dtype=torch.float64).std() / middle),
        "the quartiles are those that guess beyond the sample; take numpy's, method='inclusive'": spread("exclusive"),
        "that is in percent; a share is asked for": 100 * spread(),
    })  # fmt: skip
    _refuses(answer)


def _refuses(answer):
    noisy = [1.0, 1.5, 1.0, 1.5, 1.0, 1.5]
    for widest, refused in ((0.25, True), (0.6, False)):
        try:
            call(answer, list(noisy), widest)
        except ValueError:
            if not refused:
                raise Wrong("a spread of 40% was refused though `widest` allows 60%") from None
        else:
            if refused:
                raise Wrong("a spread of 40% was reported though `widest` allows 25%; raise a ValueError") from None


@exercise("14/accept")
def accept(answer):
    target = torch.tensor([0.1, 0.5, 0.15, 0.25], dtype=torch.float64)
    draft = torch.tensor([0.4, 0.2, 0.3, 0.1], dtype=torch.float64)
    for token, uniform, right, why in (
        (0, 0.2, True, "0.2 is below p/q = 0.25; p alone, or p ≥ q, is not the threshold"),
        (0, 0.3, False, "0.3 is above p/q = 0.25"),
        (2, 0.45, True, "0.45 is below p/q = 0.5"),
        (2, 0.6, False, "0.6 is above p/q = 0.5"),
        (1, 0.99, True, "p/q is above 1, so the token is always kept"),
    ):
        got = call(answer, target, draft, token, uniform)
        if not isinstance(got, (tuple, list)) or len(got) != 2:
            raise Wrong("two things are asked for: whether the token is kept, and the distribution to draw from if not")
        kept, rest = got
        if bool(kept) != right:
            said = "kept" if bool(kept) else "refused"
            raise Wrong(f"token {token} with p = {target[token]:g}, q = {draft[token]:g} was {said}, but {why}")
        left = (target - draft).clamp(min=0)
        compare(rest, left / left.sum(), "the distribution to draw from", {
            "it is p itself; what the draft has given already must come off": target,
            "negative places: where q is above p, nothing is missing": target - draft,
            "it does not sum to 1": left,
            "the places where q is above p came in with their size; there nothing is missing":
                (target - draft).abs() / (target - draft).abs().sum(),
            "turned round: q - p is what the draft gave too much": (draft - target).clamp(min=0)
                / (draft - target).clamp(min=0).sum(),
            "the refused token alone was taken out of p; every token's q comes off":
                target.scatter(0, torch.tensor(token), 0) / (1 - target[token]),
            "negative places: divided by their sum of absolute values they are no distribution":
                (target - draft) / (target - draft).abs().sum(),
            "a softmax keeps places that have nothing; divide by the sum": left.softmax(0),
        }, atol=1e-6)  # fmt: skip


@exercise("14/speed_up")
def speed_up(answer):
    alpha, drafted, cost, verify = 0.7, 4, 0.1, 1.25

    def tokens(n=drafted):
        return sum(alpha**i for i in range(n + 1))

    got = call(answer, alpha, drafted, cost, verify)
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        raise Wrong("two numbers are asked for: the expected tokens of a pass, and the speed-up")
    compare(got[0], tokens(), "the tokens of a pass", {
        "the target's own token is missing: after the last one kept it gives one more": tokens() - 1,
        "a token counts only if all before it were kept; the chances multiply": 1 + alpha * drafted,
        "a token counts only if all before it were kept, and the target gives one more": alpha * drafted,
        "one power too many: of γ drafts come at most γ + 1 tokens": tokens(drafted + 1),
        "that is a run of drafts without end": 1 / (1 - alpha),
    })  # fmt: skip
    passed = drafted * cost + verify
    compare(got[1], tokens() / passed, "the speed-up", {
        "the drafts cost time too, γ times their cost": tokens() / verify,
        "the target's pass over γ + 1 tokens costs `verify`, not one": tokens() / (drafted * cost + 1),
        "a pass makes γ drafts; you counted one": tokens() / (cost + verify),
        "`verify` is the whole pass over γ + 1 tokens; it is not paid for each": tokens() / (drafted * (cost + verify)),
        "the target's pass is missing": tokens() / (drafted * cost),
        "upside down: that is the time for each token": passed / tokens(),
        "that is the time of a pass": passed,
        "the last draft is not drafted on: γ drafts, not γ + 1": tokens() / ((drafted + 1) * cost + verify),
    })  # fmt: skip
    limit = "with an acceptance of 1 the closed form is 0/0; its limit is γ + 1"
    try:
        sure = call(answer, 1.0, 3, 0.5, 1.0)
    except ZeroDivisionError:
        raise Wrong(limit) from None
    if math.isnan(sure[0]):
        raise Wrong(limit)
    compare(sure[0], 4.0, "the tokens of a pass that keeps every draft")
    compare(sure[1], 1.6, "the speed-up when every draft is kept")
    compare(call(answer, 0.0, 3, 0.5, 1.0)[1], 0.4, "the speed-up when no draft is kept")
