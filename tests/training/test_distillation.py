"""Distillation: losses and gradients against plain formulas, limits, stored outputs, and what cannot be distilled."""

import copy
import dataclasses
import math

import pytest
import small_run as small
import torch
import torch.nn.functional as F

from slmkit.data.tokenizer import Tokenizer
from slmkit.training import distillation as d

VOCAB, TOKENS = 11, 6
TIGHT = dict(rtol=0, atol=1e-10)


def logits(seed, size=2.0):
    generator = torch.Generator().manual_seed(seed)
    return size * torch.randn(TOKENS, VOCAB, dtype=torch.float64, generator=generator)


def plain(student, teacher, beta=0.0, temperature=1.0):
    """The formulas of Agarwal et al. 2023 with probabilities, no logarithm taken early; without the factor T²."""
    q, p = (student / temperature).softmax(-1), (teacher / temperature).softmax(-1)

    def kl(a, b):
        return (a * (a / b).log()).sum(-1).mean()

    if beta in (0, 1):
        return kl(q, p) if beta else kl(p, q)
    mixture = beta * p + (1 - beta) * q
    return beta * kl(p, mixture) + (1 - beta) * kl(q, mixture)


def trl(student, teacher, beta=0.5, temperature=1.0):
    """What TRL's generalized_jsd_loss computes, with torch's kl_div and its batch mean; it has no factor T² either."""
    q, p = (F.log_softmax(x / temperature, dim=-1) for x in (student, teacher))
    if beta in (0, 1):
        given, wanted = (p, q) if beta else (q, p)
        return F.kl_div(given, wanted, reduction="batchmean", log_target=True)
    weight = torch.tensor(beta, dtype=q.dtype)
    mixture = torch.stack([q + torch.log1p(-weight), p + weight.log()]).logsumexp(0)
    parts = (F.kl_div(mixture, one, reduction="batchmean", log_target=True) for one in (p, q))
    return sum(share * part for share, part in zip((beta, 1 - beta), parts))


class Fixed(torch.nn.Module):
    """A model that gives the same logits whatever it reads."""

    def __init__(self, values):
        super().__init__()
        self.values, self.config = torch.nn.Parameter(values[None]), small.model().config
        self.config = dataclasses.replace(self.config, vocab_size=values.shape[-1])

    def forward(self, ids):
        return self.values


def value_and_gradient(loss, model):
    loss.backward()
    gradient, model.values.grad = model.values.grad[0], None
    return loss.detach(), gradient


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("beta", [0, 0.1, 0.5, 0.9, 1])
def test_loss_and_gradient_are_those_of_the_plain_formula_and_of_trl(beta, temperature):
    student, teacher, ids = Fixed(logits(1)), Fixed(logits(2)), torch.zeros(1, TOKENS).long()
    loss = d.DistillationLoss(student, teacher, beta=beta, temperature=temperature)(ids, ids)
    got = value_and_gradient(loss, student)
    for reference in (plain, trl):
        wanted = temperature**2 * reference(student.values[0], teacher.values[0].detach(), beta, temperature)
        torch.testing.assert_close(got, value_and_gradient(wanted, student), **TIGHT)
    assert teacher.values.grad is None


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_gradient_of_the_forward_kl_is_the_difference_of_the_softmaxes(temperature):
    student, teacher, ids = Fixed(logits(1)), Fixed(logits(2)), torch.zeros(1, TOKENS).long()
    loss = d.DistillationLoss(student, teacher, temperature=temperature)(ids, ids)
    _, gradient = value_and_gradient(loss, student)
    q, p = ((m.values[0] / temperature).softmax(-1).detach() for m in (student, teacher))
    torch.testing.assert_close(gradient, temperature * (q - p) / TOKENS, **TIGHT)


def test_hard_labels_are_mixed_in_at_temperature_one():
    student, teacher = Fixed(logits(1)), Fixed(logits(2))
    ids, targets = torch.zeros(1, TOKENS).long(), torch.arange(TOKENS)[None]
    loss = d.DistillationLoss(student, teacher, temperature=2.0, hard=0.3)(ids, targets)
    known = -student.values[0].log_softmax(-1)[range(TOKENS), range(TOKENS)].mean()
    wanted = 0.7 * 4 * plain(student.values[0], teacher.values[0], temperature=2.0) + 0.3 * known
    torch.testing.assert_close(loss, wanted, **TIGHT)


def test_jensen_shannon_divided_by_its_weight_becomes_forward_and_reverse_kl():
    student, teacher = logits(1).log_softmax(-1), logits(2).log_softmax(-1)
    near = 1e-7
    forward, reverse = d.kl(teacher, student), d.kl(student, teacher)
    assert (forward - reverse).abs().min() > 1e-2
    torch.testing.assert_close(d.jensen_shannon(student, teacher, near) / near, forward, rtol=1e-4, atol=0)
    torch.testing.assert_close(d.jensen_shannon(student, teacher, 1 - near) / near, reverse, rtol=1e-4, atol=0)
    half = d.jensen_shannon(student, teacher, 0.5)
    torch.testing.assert_close(half, d.jensen_shannon(teacher, student, 0.5), **TIGHT)
    assert (half < math.log(2)).all()


@pytest.mark.parametrize(("beta", "weight"), [(0, 1), (1, 1), (0.3, 0.21)])
def test_at_a_high_temperature_the_loss_matches_centred_logits(beta, weight):
    """Hinton et al. 2015, section 2.1: T² KL → |z - v|² / 2V, z and v the logits minus their means; the GKD mixture's
    divergence has β (1 - β) of it, the curvature that all of them share where student and teacher agree."""
    student, teacher, ids = Fixed(logits(1)), Fixed(logits(2)), torch.zeros(1, TOKENS).long()
    loss = d.DistillationLoss(student, teacher, beta=beta, temperature=1e4)(ids, ids)
    value, gradient = value_and_gradient(loss, student)
    z, v = (x.values[0].detach() - x.values[0].detach().mean(-1, keepdim=True) for x in (student, teacher))
    torch.testing.assert_close(value, weight * ((z - v) ** 2).sum(-1).mean() / (2 * VOCAB), rtol=1e-3, atol=0)
    torch.testing.assert_close(gradient, weight * (z - v) / VOCAB / TOKENS, rtol=0, atol=1e-3 * gradient.abs().max())


# -- stored outputs


@pytest.fixture(scope="module")
def teacher():
    return small.model(seed=5, d_model=48).eval()


def test_with_the_rest_in_a_bucket_top_k_is_a_lower_bound_that_grows_to_the_whole():
    student, teacher = logits(1).log_softmax(-1), logits(2).log_softmax(-1)
    for beta in (0, 0.5, 1):
        whole, before = d.jensen_shannon(student, teacher, beta), torch.zeros(TOKENS)
        for k in range(1, VOCAB):
            ids = teacher.topk(k).indices
            part = d.jensen_shannon(d.bucketed(student, ids), d.bucketed(teacher, ids), beta)
            assert (part >= before - 1e-12).all()
            assert (part <= whole + 1e-12).all()
            before = part
        torch.testing.assert_close(before, whole, **TIGHT)  # the rest is one token
        assert (whole - d.jensen_shannon(*(d.bucketed(x, teacher.topk(3).indices) for x in (student, teacher)), beta)
                ).min() > 1e-4  # fmt: skip


@pytest.mark.parametrize("k", [None, small.VOCAB, 7])
def test_stored_outputs_are_what_the_teacher_says_where_it_sees_as_much(teacher, k):
    row, teacher = small.row(200, 3), copy.deepcopy(teacher).double()
    stored = d.store(teacher, row, 32, k, temperature=2.0, dtype=torch.float64)
    text = torch.cat((row.tokens[-1:], row.tokens)).long()
    for place, first in ((5, 0), (31, 0), (32, 16), (100, 80), (199, 168)):  # where the window that counts begins
        wanted = (teacher(text[None, first : place + 1])[0, -1] / 2).log_softmax(-1)
        got, ids = stored.at(torch.tensor(place))
        if k == 7:
            assert sorted(ids.tolist()) == sorted(wanted.topk(7).indices.tolist())
            wanted = d.bucketed(wanted, ids)
        torch.testing.assert_close(got, wanted, **TIGHT)
    assert (stored.ids is None) == (k != 7)
    assert stored.labels(torch.arange(200)).tolist() == row.tokens.tolist()


def test_half_precision_keeps_probabilities_to_a_percent(teacher):
    row = small.row(120, 3)
    exact, rounded = (d.store(teacher, row, 32, 7, dtype=one) for one in (torch.float64, torch.float16))
    places = torch.arange(120)
    torch.testing.assert_close(rounded.at(places)[0].exp(), exact.at(places)[0].exp().float(), rtol=1e-2, atol=0)
    torch.testing.assert_close(rounded.at(places)[0].exp().sum(-1), torch.ones(120))


@pytest.mark.parametrize(("vocab", "k"), [(small.VOCAB, None), (small.VOCAB, 7), (small.VOCAB, 10**6)])
def test_memory_is_as_computed(teacher, vocab, k):
    stored = d.store(teacher, small.row(100, 3), 32, k)
    held = stored.log_probs.nbytes + (0 if stored.ids is None else stored.ids.nbytes)
    assert d.stored_bytes(100, vocab, k) == held


def test_ids_of_a_large_vocabulary_need_four_bytes():
    assert d.stored_bytes(10, 2**16, 3) + 60 == d.stored_bytes(10, 2**16 + 1, 3) == 10 * (4 * 2 + 3 * 4)


@pytest.mark.parametrize("options", [{}, {"beta": 0.4, "temperature": 2.0}, {"hard": 0.5}])
def test_all_outputs_stored_give_the_loss_of_the_teacher_itself(teacher, options):
    """In the first half of the row's first window, where both read the same tokens."""
    row, student, asked = small.row(200, 3), small.model().double(), copy.deepcopy(teacher).double()
    stored = d.store(asked, row, 32, temperature=options.get("temperature", 1.0), dtype=torch.float64)
    places = torch.arange(16)[None]
    inputs, targets = torch.cat((row.tokens[-1:], row.tokens[:15]))[None].long(), row.tokens[None, :16].long()
    wanted = d.DistillationLoss(student, asked, **options)(inputs, targets)
    torch.testing.assert_close(d.DistillationLoss(student, stored, **options)(inputs, places), wanted, **TIGHT)


def test_batches_of_stored_outputs_are_the_row_s_own(teacher):
    row = small.row(400, 3)
    stored = d.store(teacher, row, 32, 3)
    ours, theirs = stored.batches(4, 16, seed=2), row.batches(4, 16, seed=2)
    for step in (0, 3, 20):
        (inputs, places), (wanted, targets) = ours(step), theirs(step)
        assert torch.equal(inputs, wanted)
        assert torch.equal(stored.labels(places), targets)
        assert torch.equal(ours(step, slice(1, 3))[1], places[1:3])


# -- on-policy


def test_an_on_policy_batch_begins_with_real_text_and_is_drawn_again_alike(teacher):
    loss = d.DistillationLoss(small.model(), teacher, own=0.5, prompt=4)
    inputs = small.row(200, 3).tokens[:64].view(4, 16).long()
    one, two = (loss.with_own_text(inputs) for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(one[:2, :4], inputs[:2, :4])
    assert torch.equal(one[2:], inputs[2:])
    assert not torch.equal(one[:2, 4], inputs[:2, 4]), "the prompt has four tokens"
    other = inputs.clone()
    other[3, 0] += 1  # another batch, although its first rows are the same
    assert not torch.equal(loss.with_own_text(other)[:2, 4:], one[:2, 4:])


# -- text


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["the cat sat on the mat and the dog sat on the cat " * 20], 270)


def test_the_teacher_writes_a_document_for_each_prompt(tokenizer):
    teacher = small.model(vocab_size=tokenizer.vocab_size)
    prompts = ["the cat", "", "on the mat and the dog"] * 2
    documents = d.written(teacher, tokenizer, prompts, 9, batch_size=4)
    assert len(documents) == 6
    assert all(text.startswith(prompt) for text, prompt in zip(documents, prompts))
    assert documents[0] != documents[3]
    assert documents == d.written(teacher, tokenizer, prompts, 9, batch_size=4)


def test_what_the_teacher_writes_ends_at_its_separator_or_when_it_is_long_enough(tokenizer):
    teacher, prompts = small.model(vocab_size=tokenizer.vocab_size, tied_embeddings=False, head_bias=True), ["sat", ""]
    for token, written in ((tokenizer.end_of_text, ""), (*tokenizer.encode("x"), "xxxxx")):
        with torch.no_grad():
            teacher.head.bias.zero_()[token] = 100.0
        assert d.written(teacher, tokenizer, prompts, 5) == [prompt + written for prompt in prompts]


# -- bad input


def test_a_teacher_of_another_vocabulary_is_refused_in_one_line(teacher, tokenizer):
    with pytest.raises(ValueError, match=r"^the teacher's vocabulary has 61 tokens, the student's 67, .*$"):
        d.DistillationLoss(small.model(vocab_size=67), teacher)
    with pytest.raises(ValueError, match="61 tokens, the student's 67"):
        d.DistillationLoss(small.model(vocab_size=67), d.store(teacher, small.row(100, 3), 32, 3))
    other = Tokenizer.train(["one fish two fish red fish blue fish " * 20], tokenizer.vocab_size)
    d.same_vocabulary(tokenizer, tokenizer)
    with pytest.raises(ValueError, match=r"^the teacher's vocabulary .* is not the student's .*teacher wrote"):
        d.same_vocabulary(tokenizer, other)


@pytest.mark.parametrize(("options", "message"), [
    ({"beta": 1.5}, "beta is 1.5"), ({"hard": -0.1}, "hard is -0.1"), ({"own": 2}, "own is 2"),
    ({"temperature": 0}, "temperature is 0"), ({"temperature": math.nan}, "temperature is nan"),
    ({"own": 0.5, "hard": 0.5}, "hard = 0"), ({"own": 0.5, "prompt": 0}, "prompt of 1"),
])  # fmt: skip
def test_impossible_settings_are_refused(teacher, options, message):
    with pytest.raises(ValueError, match=message):
        d.DistillationLoss(small.model(), teacher, **options)


def test_other_impossible_wishes(teacher):
    stored, model = d.store(teacher, small.row(100, 3), 32, 3), small.model()
    for given, options in ((stored, {"temperature": 2.0}), (stored, {"own": 0.5}), (model, {})):
        with pytest.raises(ValueError, match=r"stored at temperature 1.0|not stored outputs|one model"):
            d.DistillationLoss(model, given, **options)
    with pytest.raises(ValueError, match="other tokens than the batch"):
        d.DistillationLoss(model, stored)(*small.data().train.batches(2, 16)(0))
    for row, k in ((small.row(100, 3), 0), (dataclasses.replace(small.row(100, 3), vocab_size=99), 3)):
        with pytest.raises(ValueError, match=r"at most the teacher's 61, and k"):
            d.store(teacher, row, 32, k)


def test_a_nan_is_passed_on_and_not_stored():
    broken = small.model()
    with torch.no_grad():
        broken.norm.weight.fill_(math.nan)
    ids = torch.zeros(1, 8).long()
    assert d.DistillationLoss(small.model(), broken)(ids, ids).isnan()  # at which the trainer stops
    with pytest.raises(ValueError, match="not finite"):
        d.store(broken, small.row(100, 3), 32)
