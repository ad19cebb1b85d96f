"""Checkers of lab 13, in-context learning and long context."""

import torch

from slmkit.course.checking import Wrong, call, compare, exercise


def _pair(got, what: str) -> tuple:
    if not isinstance(got, tuple) or len(got) != 2:
        raise Wrong(f"return two things, {what}")
    return got


@exercise("13/induction_batch")
def induction_batch(answer):
    pieces, periods, length = torch.tensor([[9, 4, 7, 2, 5], [1, 8, 3, 6, 0]]), torch.tensor([3, 5]), 11
    place = torch.arange(length)
    right = pieces.gather(1, turn := place % periods[:, None])
    ids, known = _pair(call(answer, pieces.clone(), periods.clone(), length), "ids and known")
    compare(ids, right, "ids", {
        "the whole piece is repeated; repeat each row's first `period` tokens":
            pieces.gather(1, (place % 5).expand(2, -1)),
        "all rows repeat with the first row's period": pieces.gather(1, (place % 3).expand(2, -1)),
        "each token stands `period` times in a row; repeat the piece, not the token":
            pieces.gather(1, (place // periods[:, None]).clamp(max=4)),
        "the piece is shifted by one; the row begins with its first token":
            pieces.gather(1, (place + 1) % periods[:, None]),
        "every second round runs backwards; repeat the piece in its order":
            pieces.gather(1, torch.where(place // periods[:, None] % 2 == 1, periods[:, None] - 1 - turn, turn)),
        "ids has one token too many; `length` is the whole row":
            pieces.gather(1, torch.arange(length + 1) % periods[:, None]),
    })  # fmt: skip
    compare(known, place > periods[:, None], "known", {
        "the first token of the second round is not known: nothing before it tells that the piece is at its end":
            place >= periods[:, None],
        "that marks what is not known; turn it round": place <= periods[:, None],
        "tokens of the second round are known already, from its second one on": place >= 2 * periods[:, None],
        "one token too late: the second of the second round is known": place > periods[:, None] + 1,
        "the first round is not known: its tokens have not been seen": torch.ones(2, length, dtype=torch.bool),
        "each row has a period of its own": (place > periods[:1, None]).expand(2, -1),
    })  # fmt: skip


def _attention(rows: int, heads: int, time: int) -> torch.Tensor:
    scores = torch.randn(rows, heads, time, time, generator=torch.Generator().manual_seed(13), dtype=torch.float64)
    return scores.masked_fill(~torch.ones(time, time, dtype=torch.bool).tril(), float("-inf")).softmax(-1)


@exercise("13/prefix_matching")
def prefix_matching(answer):
    ids = torch.tensor([[3, 1, 4, 1, 5, 3, 1, 4, 3], [2, 7, 1, 8, 2, 8, 1, 2, 8]])
    pattern = _attention(2, 3, 9)
    same = ids[:, :, None] == ids[:, None, :]
    copy = same.tril(-1)
    seen = copy.any(-1)

    def shift(mask, by=1):
        moved = torch.zeros_like(mask)
        moved[..., max(by, 0) : mask.shape[-1] + min(by, 0)] = mask[..., max(-by, 0) : mask.shape[-1] - max(by, 0)]
        return moved

    def mean(mask, where=seen, read=pattern):
        return (read * mask[:, None]).sum(-1).movedim(1, -1)[where].mean(0)

    first = shift(torch.nn.functional.one_hot(copy.int().argmax(-1), 9).bool() & seen[..., None])
    last = shift(torch.nn.functional.one_hot((copy * torch.arange(1, 10)).argmax(-1), 9).bool() & seen[..., None])
    behind = shift(copy)
    compare(call(answer, pattern.clone(), ids.clone()), mean(behind), "the score", {
        "that is the attention on the earlier copies themselves; look one place behind them": mean(copy),
        "that is the attention right before the earlier copies; look behind them": mean(shift(copy, -1)),
        "that is the attention on copies and on the token itself; look one place behind the earlier copies":
            mean(same.tril()),
        "only the latest copy is counted; take all of them together": mean(last),
        "only the first copy is counted; take all of them together": mean(first),
        "the mean runs over all places; take those whose token came before": mean(behind, torch.ones_like(seen)),
        "these are sums; take the mean over places": mean(behind) * seen.sum(),
        "divide by the number of places t, not by the number of pairs":
            (pattern * behind[:, None]).sum((0, 2, 3)) / behind.sum(),
        "query and key are exchanged": mean(behind, read=pattern.transpose(-1, -2)),
        "that is one number; keep one for each head": mean(behind).mean(),
        "that is for each row; take the mean over the rows' places too":
            (pattern * behind[:, None]).sum((-1, -2)) / seen.sum(-1, keepdim=True),
    })  # fmt: skip


@exercise("13/prompt")
def prompt(answer):
    pool = [("Q: one\nA:", " I"), ("Q: two\nA:", " II"), ("Q: three\nA:", " III"), ("Q: four\nA:", " IV")]
    item = pool[1]
    for shots in (2, 0):
        solved = [context + text for context, text in pool if context != item[0]]

        def join(parts, between="\n\n"):
            return between.join(parts)

        leaking = [context + text for context, text in pool]
        mistakes = {
            "the item itself is among the examples: its answer leaks": join([*leaking[:shots], item[0]]),
            "the prompt ends with the answer": join([*solved[:shots], "".join(item)]),
            "there is a space at the end; the answer carries it": join([*solved[:shots], item[0]]) + " ",
            "there is a new line at the end; nothing may follow the question": join([*solved[:shots], item[0]]) + "\n",
            "leave the item out first and count the shots then; one is missing":
                join([*(s for s in leaking[:shots] if s != "".join(item)), item[0]]),
            "an empty line stands between the examples, that is two new lines": join([*solved[:shots], item[0]], "\n"),
            "the examples run into each other; put an empty line between them": join([*solved[:shots], item[0]], ""),
            "the examples have no answers": join([*[one for one, _ in pool if one != item[0]][:shots], item[0]]),
            "that is one example too many": join([*solved[: shots + 1], item[0]]),
            "the question comes last, behind the examples": join([item[0], *solved[:shots]]),
            "take the first examples, not the last": join([*(solved[-shots:] if shots else solved), item[0]]),
            "keep the order of the pool": join([*reversed(solved[:shots]), item[0]]),
            "an answer has two spaces before it; it carries its own":
                join([*(s.replace("A: ", "A:  ") for s in solved[:shots]), item[0]]),
        }  # fmt: skip
        right = join([*solved[:shots], item[0]])
        wrong = {message: value for message, value in mistakes.items() if value != right}
        compare(call(answer, list(pool), item, shots), right, f"the prompt with {shots} shots", wrong)


@exercise("13/mean_gain")
def mean_gain(answer):
    before, after, t = (torch.tensor(v, dtype=torch.float64) for v in ([30, 41, 25, 52], [33, 40, 31, 58], 3.182))
    gain, n = after - before, 4
    got = call(answer, before.numpy(), after.numpy(), t.item())
    if not isinstance(got, (tuple, list)) or len(got) != 3:
        raise Wrong("return three numbers: the mean, the low and the high end")

    def ends(half, mean=None):
        mean = gain.mean() if mean is None else mean
        return torch.stack((mean, mean - half, mean + half))

    error = gain.std() / n**0.5
    apart = ((before.var() + after.var()) / n) ** 0.5
    compare(torch.stack([torch.as_tensor(float(value), dtype=torch.float64) for value in got]), ends(t * error),
            "(mean, low, high)", {
        "the sign is turned: the gain is after minus before": ends(t * error, -gain.mean()),
        "the two are taken as independent; use the deviation of the differences": ends(t * apart),
        "divide the deviation by √n": ends(t * gain.std()),
        "divide the deviation by √n, not by n": ends(t * gain.std() / n),
        "the deviation of a sample divides by n - 1": ends(t * gain.std(correction=0) / n**0.5),
        "that is the variance; take its root": ends(t * gain.var() / n**0.5),
        "t is not used": ends(error),
        "1.96 is the normal's; so few values need Student's t": ends(1.96 * error),
        "that is the median; take the mean": ends(t * error, gain.quantile(0.5)),
        "low and high are exchanged": ends(-t * error),
        "that is the gain relative to before; points are asked for": ends(
            t * (gain / before).std() / n**0.5, (gain / before).mean()),
    })  # fmt: skip


@exercise("13/placed")
def placed(answer):
    filler, needle, question = [*range(100, 160)], [1, 2, 3], [7, 8]
    for depth, length in ((0.3, 25), (0.0, 12), (1.0, 12), (0.68, 31)):
        room = length - 5

        def at(cut, room=room, filler=filler):
            return filler[:cut] + needle + filler[cut:room] + question

        mistakes = {
            "depth 0 is the front and 1 the end; you count from the end": at(room - round(depth * room)),
            "the depth is a share of what has room, not of all the filler": at(min(round(depth * 60), room)),
            "the prompt is too long: the needle and the question count too": at(round(depth * length), length),
            "the question counts too: `length` is the whole prompt": at(round(depth * (room + 2)), room + 2),
            "the needle counts too": at(round(depth * (room + 3)), room + 3),
            "the depth is a share of the filler, not of the whole prompt": at(min(round(depth * length), room)),
            "the depth is a share of the filler alone; the needle does not count":
                at(min(round(depth * (room + 3)), room)),
            "the filler behind the needle is missing": filler[: round(depth * room)] + needle + question,
            "the needle overwrites filler; put it between":
                (f := at(round(depth * room)))[: round(depth * room) + 3] + filler[round(depth * room) + 3 :
                                                                                     room + 3] + question,
            "the needle is missing": filler[: length - 2] + question,
            "the question is missing at the end": filler[: round(depth * (length - 3))] + needle
                + filler[round(depth * (length - 3)) : length - 3],
            "the question comes last": question + at(round(depth * room))[:-2],
            "round to the nearest token; you cut off": at(int(depth * room)),
            "the filler's last tokens are used; take its first": at(round(depth * room), room, filler[-room:]),
        }  # fmt: skip
        del f
        right = at(round(depth * room))
        got = call(answer, list(filler), list(needle), list(question), depth, length)
        wrong = {message: value for message, value in mistakes.items() if value != right}
        compare(got, right, f"the prompt of {length} tokens at depth {depth:g}", wrong)


@exercise("13/frequencies")
def frequencies(answer):
    theta, dim, factor = 10_000.0, 8, 4.0
    exponent = torch.arange(0, dim, 2, dtype=torch.float64) / dim

    def turns(base=theta, exponent=exponent):
        return base**-exponent

    common = {
        "the exponent is -2j / d: the first pair turns fastest": turns() ** -1,
        "one for each pair, that is d / 2": theta ** -(torch.arange(dim).double() / dim),
        "the exponent is -2j / d, not -j / d": turns(exponent=exponent / 2),
    }
    raised = theta * factor ** (dim / (dim - 2))
    cases = {
        None: (turns(), {"without a kind nothing is stretched": turns() / factor}),
        "linear": (turns() / factor, {
            "nothing is stretched: divide by the factor": turns(),
            "divide by the factor; you multiplied": turns() * factor,
            "the base was multiplied; interpolation divides the turns": turns(theta * factor),
            "that is the NTK way; interpolation divides all turns": turns(raised),
        }),
        "ntk": (turns(raised), {
            "nothing is stretched: raise the base": turns(),
            "the base is raised by f^(d / (d - 2)), not by f alone: the slowest pair must be divided by f":
                turns(theta * factor),
            "all turns are divided; the NTK way raises the base": turns() / factor,
            "the exponent of the factor is d / (d - 2); you have its inverse":
                turns(theta * factor ** ((dim - 2) / dim)),
            "the base is lowered; raise it": turns(theta / factor ** (dim / (dim - 2))),
            "the base is raised and the turns are divided; do the first only": turns(raised) / factor,
            "the power is of the factor alone, not of the base": turns((theta * factor) ** (dim / (dim - 2))),
        }),
    }  # fmt: skip
    for kind, (right, mistakes) in cases.items():
        args = (theta, dim, factor, kind) if kind else (theta, dim)
        got = torch.as_tensor(call(answer, *args)).double()
        # each turn relative to the right one, so that the slow pairs count as the fast ones do
        if got.shape == right.shape:
            for message, value in {**mistakes, **common}.items():
                if value.shape == got.shape and torch.allclose(got / value, torch.ones_like(got), rtol=1e-4, atol=0):
                    raise Wrong(message)
        compare(got, right, f"the turns for kind {kind!r}", common | mistakes)
        if not torch.allclose(got / right, torch.ones_like(got), rtol=1e-4, atol=0):
            raise Wrong(f"the slow pairs are wrong for kind {kind!r}: {got.tolist()}; they should be {right.tolist()}")
    plain = torch.as_tensor(call(answer, theta, dim, factor, None)).double()
    compare(
        plain,
        turns(),
        "the turns without a kind, though a factor is given",
        {"without a kind nothing is stretched": turns() / factor},
    )
