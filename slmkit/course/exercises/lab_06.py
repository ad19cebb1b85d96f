"""Checkers of lab 06, sharing weights and scaling layers unevenly."""

import torch
import torch.nn.functional as F
from torch import nn

from slmkit.config import ModelConfig
from slmkit.course.checking import Wrong, call, compare, exercise
from slmkit.survey.zoo import divisible


def _draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@exercise("06/tie")
def tie(answer):
    embedding, head = nn.Embedding(11, 6), nn.Linear(6, 11, bias=False)
    before = embedding.weight.detach().clone()
    saved = call(answer, embedding, head)
    if not torch.equal(embedding.weight, before):
        raise Wrong("the embedding's values changed; the head gives up its matrix, not the embedding")
    if not torch.equal(head.weight, embedding.weight):
        raise Wrong(
            "the head's matrix is not the embedding's; both have the shape [vocabulary, width], no turning needed"
        )
    if head.weight.data_ptr() != embedding.weight.data_ptr():
        raise Wrong("the head holds a copy: equal now, apart after one step of training; assign the parameter itself")
    if head.weight is not embedding.weight:
        raise Wrong("two parameters on one memory: an optimizer would update it twice; make them the same nn.Parameter")
    compare(saved, 66, "what the tie saves", {
        "you gave what is left; the head's matrix is saved, and nothing else goes": 0,
        "both matrices are counted; one of them stays": 132,
        "that is the number of rows; a row has as many numbers as the model is wide": 11,
        "that is the width; the matrix has a row for each token": 6,
        "those are bytes; count parameters": 264,
    })  # fmt: skip


class _Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.ffn = nn.Linear(2, 2), nn.Linear(2, 2)


def _places(modules) -> list[int]:
    """For each module, where the same one came first: [0, 0, 2, 2] for two neighbours shared."""
    first = {}
    return [first.setdefault(id(module), i) for i, module in enumerate(modules)]


def _same_values(a: nn.Module, b: nn.Module) -> bool:
    return all(map(torch.equal, a.parameters(), b.parameters()))


@exercise("06/share")
def share(answer):
    blocks = nn.ModuleList(_Block() for _ in range(6))
    given, ffns = list(blocks), [block.ffn for block in blocks]
    made = _blocks(call(answer, blocks, "ffn_all"), 6)
    if [id(block) for block in made] != [id(block) for block in given]:
        raise Wrong('in "ffn_all" the blocks stay what they are, each in its place; only their FFN is one')
    if _places(block.attention for block in made) != list(range(6)):
        raise Wrong('in "ffn_all" each block keeps its own attention')
    _check_one_ffn([block.ffn for block in made], ffns)

    blocks = nn.ModuleList(_Block() for _ in range(6))
    given = list(blocks)
    made = _blocks(call(answer, blocks, "block_pairs"), 6)
    order = [next((i for i, block in enumerate(given) if block is one), None) for one in made]
    told = {
        (0, 1, 2, 0, 1, 2): "that repeats the whole stack: 0 1 2 0 1 2; neighbours share, 0 0 2 2 4 4",
        (0, 1, 2, 2, 1, 0): "that goes back through the stack: 0 1 2 2 1 0; neighbours share, 0 0 2 2 4 4",
        (0, 0, 1, 1, 2, 2): "of each pair the first stays in its place: 0 0 2 2 4 4, not 0 0 1 1 2 2",
        (1, 1, 3, 3, 5, 5): "of each pair the first serves both: 0 0 2 2 4 4, not 1 1 3 3 5 5",
        (0, 0, 0, 0, 0, 0): "one block serves all; only neighbours share, 0 0 2 2 4 4",
        (
            0,
            1,
            2,
            3,
            4,
            5,
        ): "the blocks themselves are not shared; list one block twice, do not copy weights or its FFN",
    }.get(tuple(order))
    if told:
        raise Wrong(told)
    if None in order and all(_same_values(one, given[i - i % 2]) for i, one in enumerate(made)):
        raise Wrong("the second of a pair is a copy: equal now, apart after one step of training; list the block twice")
    if order != [0, 0, 2, 2, 4, 4]:
        raise Wrong(f"the blocks come in the order {order}; it should be [0, 0, 2, 2, 4, 4]")


def _blocks(made, length: int) -> list[nn.Module]:
    if not isinstance(made, nn.ModuleList):
        raise Wrong(f"a {type(made).__name__} comes back; PyTorch finds parameters only in an nn.ModuleList")
    if len(made) != length:
        raise Wrong(f"{len(made)} blocks come back; a token still passes through {length}")
    return list(made)


def _check_one_ffn(made: list[nn.Module], given: list[nn.Module]):
    places = _places(made)
    if places == [0, 0, 2, 2, 4, 4]:
        raise Wrong('in "ffn_all" one FFN serves all blocks, not only neighbours')
    if places != [0] * 6:
        if all(_same_values(one, given[0]) for one in made):
            raise Wrong("the FFNs are copies: equal now, apart after one step of training; assign the module itself")
        raise Wrong(f'in "ffn_all" all blocks have one FFN; yours are alike in the pattern {places}')
    if made[0] is not given[0]:
        raise Wrong("the FFN that serves all is the first block's")


@exercise("06/shared_gradient")
def shared_gradient(answer):
    x, w = _draw(5, 4), _draw(4, 4, seed=1)
    before = x @ w
    y = before.relu() @ w
    back = y @ w.T
    outer, inner = before.relu().T @ y, x.T @ (back * (before > 0))
    compare(call(answer, x.clone(), w.clone()), outer + inner, "the gradient of w", {
        "that is the gradient of the second use alone; w also stands inside the ReLU": outer,
        "that is the gradient of the first use alone; w also multiplies what the ReLU gives": inner,
        "that is the mean over the uses; gradients add up": (outer + inner) / 2,
        "the ReLU lets the gradient through only where its input is above 0": outer + x.T @ back,
        "the first use's gradient comes back through the second: multiply by w, turned":
            outer + x.T @ (y * (before > 0)),
        "on the way back the matrix is turned: y @ w.T": outer + x.T @ (y @ w * (before > 0)),
        "the second use reads what the ReLU gives, not x @ w": before.T @ y + inner,
        "the gradient is turned; w is [inputs, outputs]": (outer + inner).T,
        "that is the gradient of ‖y‖²; with the half in front, the 2 goes": 2 * (outer + inner),
    })  # fmt: skip
    return "equal to autograd's"


def _config(**changed) -> ModelConfig:
    plain = dict(vocab_size=9, d_model=12, n_layers=4, n_heads=6, n_kv_heads=2, head_dim=4, d_ff=20)
    return ModelConfig(**(plain | changed))


def _weights(config: ModelConfig, keys=2, ffn=3, query_width=None, shared_ffn=True, pairs=2) -> tuple[int, int]:
    """What `block_weights` gives, and what it would with a mistake."""
    layers = [config.layer(i) for i in range(config.n_layers)]
    width = config.head_dim if query_width is None else query_width
    attention = [config.d_model * width * (2 * layer.n_heads + keys * layer.n_kv_heads) for layer in layers]
    fed = [ffn * config.d_model * layer.d_ff for layer in layers]
    step = pairs if config.sharing == "block_pairs" else 1
    once = fed[:1] if config.sharing == "ffn_all" and shared_ffn else fed[::step]
    return sum(attention[::step]) + sum(once), sum(attention) + sum(fed)


@exercise("06/block_weights")
def block_weights(answer):
    plain, one, pairs = _config(), _config(sharing="ffn_all"), _config(sharing="block_pairs")
    right = _weights(plain)
    mistakes = {
        "keys have a matrix, and values have one too": _weights(plain, keys=1),
        "all heads are counted as query heads; keys and values have n_kv_heads": _weights(plain, keys=6),
        "keys and values are not counted": _weights(plain, keys=0),
        "a head is head_dim wide, which need not be d_model / n_heads": _weights(plain, query_width=2),
        "a gated FFN has three matrices: gate, up, down": _weights(plain, ffn=2),
        "that is one layer; count all": tuple(number // 4 for number in right),
        "those are FLOPs, two for each number; count numbers": tuple(2 * number for number in right),
        "the FFNs are missing": _weights(plain, ffn=0),
    }
    compare(call(answer, plain), right, "without sharing (held, used)", mistakes)
    held, used = _weights(one)
    compare(call(answer, one), (held, used), 'with "ffn_all" (held, used)', {
        "the FFN is held once, for all blocks": _weights(one, shared_ffn=False),
        "sharing saves what is held; a token still passes through every FFN": (held, held),
        "attention stays each block's own; only the FFN is held once": (used // 4, used),
        "held and used are the wrong way round": (used, held),
    })  # fmt: skip
    held, used = _weights(pairs)
    compare(call(answer, pairs), (held, used), 'with "block_pairs" (held, used)', {
        "every second block is the one before it: half of the blocks are held": _weights(pairs, pairs=1),
        "sharing saves what is held; a token still passes through every block": (held, held),
        "that is how one FFN for all blocks is held; here neighbours share whole blocks": _weights(one),
        "held and used are the wrong way round": (used, held),
    })  # fmt: skip
    uneven = _config(n_heads=(2, 4, 4, 6), n_kv_heads=(1, 2, 2, 2), d_ff=(8, 16, 24, 32))
    compare(call(answer, uneven), _weights(uneven), "layers of different widths (held, used)", {
        "each layer has widths of its own; you used the first layer's for all":
            _weights(_config(n_heads=2, n_kv_heads=1, d_ff=8)),
        "each layer has widths of its own; you used the last layer's for all":
            _weights(_config(n_heads=6, n_kv_heads=2, d_ff=32)),
    })  # fmt: skip


def _widths(d=640, n=6, head=32, groups=4, alpha=(0.5, 1.0), beta=(0.5, 4.0), divisor=256, *, last=1, rounded=2,
            fit=divisible, by_group=True, counted=True) -> tuple[tuple[int, ...], tuple[int, ...]]:  # fmt: skip
    """What `layer_widths` gives, and what it would with a mistake."""
    done = [i / (n - last) for i in range(n)]
    a, b = ([round(low + (high - low) * share, rounded) for share in done] for low, high in (alpha, beta))
    heads = tuple(int(fit(value * d, (groups if by_group else 1) * head) // (head if counted else 1)) for value in a)
    return heads, tuple(int(fit(value * d, divisor)) for value in b)


@exercise("06/layer_widths")
def layer_widths(answer):
    given = (640, 6, 32, 4)
    heads, d_ff = _pair(call(answer, *given))
    right = _widths()

    def floor(value, by):
        return int(value) // by * by

    compare(heads, right[0], "the heads of 6 layers, 640 wide, heads of 32 in groups of 4", {
        "the last layer does not reach alpha[1]; n layers have n - 1 steps between them": _widths(last=0)[0],
        "queries are made divisible by head_dim alone; a group of heads shares one key head":
            _widths(by_group=False)[0],
        "those are widths; a head is head_dim wide": _widths(counted=False)[0],
        "you rounded down; divisible(width, by) rounds to the nearest": _widths(fit=floor)[0],
        "alpha and beta are mixed up: alpha is for the heads": _widths(alpha=(0.5, 4.0))[0],
        "the heads shrink; they grow from alpha[0] to alpha[1]": _widths(alpha=(1.0, 0.5))[0],
    })  # fmt: skip
    compare(d_ff, right[1], "the FFN widths of 6 layers, 640 wide", {
        "the last layer does not reach beta[1]; n layers have n - 1 steps between them": _widths(last=0)[1],
        "the widths are not made divisible": _widths(fit=lambda value, by: int(value))[1],
        "you rounded down; divisible(width, by) rounds to the nearest": _widths(fit=floor)[1],
        "the FFNs are made divisible as the heads are; theirs is `divisor`": _widths(divisor=128)[1],
        "alpha and beta are mixed up: beta is for the FFN": _widths(beta=(0.5, 1.0))[1],
        "the FFNs shrink; they grow from beta[0] to beta[1]": _widths(beta=(4.0, 0.5))[1],
    })  # fmt: skip
    odd = dict(alpha=(1.0, 0.5), beta=(3.0, 1.0), divisor=1)
    got = _pair(call(answer, 1000, 7, 8, 1, **odd))
    compare(got[0], _widths(1000, 7, 8, 1, **odd)[0], "the heads with alpha from 1 to 0.5", {
        "alpha and beta are rounded to 2 digits before they are used": _widths(1000, 7, 8, 1, **odd, rounded=9)[0],
        "alpha is not used; it is an argument": _widths(1000, 7, 8, 1)[0],
    })  # fmt: skip
    compare(got[1], _widths(1000, 7, 8, 1, **odd)[1], "the FFN widths with beta from 3 to 1, made divisible by 1", {
        "alpha and beta are rounded to 2 digits before they are used": _widths(1000, 7, 8, 1, **odd, rounded=9)[1],
        "beta is not used; it is an argument": _widths(1000, 7, 8, 1, divisor=1)[1],
    })  # fmt: skip


def _pair(got) -> tuple:
    if not isinstance(got, tuple) or len(got) != 2:
        raise Wrong("two tuples are asked for: heads of each layer, FFN widths of each layer")
    return got


@exercise("06/series")
def series(answer):
    x, a, b = _draw(3, 5), torch.tensor([0.5, -2.0, 1.5]), torch.tensor([-1.0, 0.5, 2.0])

    def summed(one=lambda x, scale, shift: scale * F.silu(x + shift)):
        return sum(one(x, *pair) for pair in zip(a, b))

    compare(call(answer, x, a, b), summed(), "a series of 3 terms", {
        "the shifts are missing": summed(lambda x, scale, _: scale * F.silu(x)),
        "the scales are missing": summed(lambda x, _, shift: F.silu(x + shift)),
        "the shift stands outside; it belongs to the activation's input": summed(lambda x, s, b: s * F.silu(x) + b),
        "the scale stands inside; it multiplies what the activation gives": summed(lambda x, s, b: F.silu(s * x + b)),
        "that is the mean; the terms add up": summed() / 3,
        "that is the last term alone; the terms add up": a[2] * F.silu(x + b[2]),
        "that is the first term alone; the terms add up": a[0] * F.silu(x + b[0]),
        "a sum inside one activation is no series; activate each term": F.silu(a.sum() * x + b.sum()),
        "the activation is SiLU, not ReLU": summed(lambda x, scale, shift: scale * F.relu(x + shift)),
        "the activation is SiLU, not GELU": summed(lambda x, scale, shift: scale * F.gelu(x + shift)),
    })  # fmt: skip
    a, b = (tensor.requires_grad_() for tensor in (a, b))
    made = call(answer, x, a, b)
    if not made.requires_grad or None in torch.autograd.grad(made.sum(), (a, b), allow_unused=True):
        raise Wrong("the numbers are right, but no gradient reaches a and b, so they could not be learned")
