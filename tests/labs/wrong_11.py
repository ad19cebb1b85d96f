"""Plausible wrong answers to lab 11's exercises: for each, what it gets told."""

import torch
import torch.nn.functional as F


def kl(p, q):
    return (p * (p / q).log()).sum(-1)


def softmaxes(student, teacher, T):
    return (student / T).softmax(-1), (teacher / T).softmax(-1)


def reverse(student, teacher, temperature=1.0):
    q, p = softmaxes(student, teacher, temperature)
    return temperature**2 * kl(q, p).mean()


def scaled(power):
    def loss(student, teacher, temperature=1.0):
        q, p = softmaxes(student, teacher, temperature)
        return temperature**power * kl(p, q).mean()

    return loss


def torch_mean(student, teacher, temperature=1.0):
    q, p = softmaxes(student, teacher, temperature)
    return temperature**2 * kl(p, q).mean() / student.shape[1]  # as kl_div with reduction="mean" gives


def torch_sum(student, teacher, temperature=1.0):
    q, p = softmaxes(student, teacher, temperature)
    return temperature**2 * F.kl_div(q.log(), p, reduction="sum")


def crossed(student, teacher, temperature=1.0):
    q, p = softmaxes(student, teacher, temperature)
    return -(temperature**2) * (p * q.log()).sum(-1).mean()


def student_only(student, teacher, temperature=1.0):
    return temperature**2 * kl(teacher.softmax(-1), (student / temperature).softmax(-1)).mean()


def multiplied(student, teacher, temperature=1.0):
    return temperature**2 * kl((teacher * temperature).softmax(-1), (student * temperature).softmax(-1)).mean()


def over_tokens(student, teacher, temperature=1.0):
    return temperature**2 * kl((teacher / temperature).softmax(0), (student / temperature).softmax(0)).mean()


def slope(power=1, sign=1, mean=True, cold=False):
    def gradient(student, teacher, temperature=1.0):
        q, p = softmaxes(student, teacher, 1.0 if cold else temperature)
        return sign * temperature**power * (q - p) / (len(student) if mean else 1)

    return gradient


def of_logits(student, teacher, temperature=1.0):
    return temperature * (student - teacher) / len(student)


def per_logit(student, teacher, temperature=1.0):
    return slope()(student, teacher, temperature) / student.shape[1]


def divergence(ends=True, swap_mixture=False, swap_weights=False, mixed=None):
    def js(student, teacher, beta):
        p, q = teacher.exp(), student.exp()
        if ends and beta in (0, 1):
            return kl(q, p) if beta else kl(p, q)
        inner, outer = (1 - beta if swap else beta for swap in (swap_mixture, swap_weights))
        m = inner * p + (1 - inner) * q if mixed is None else mixed(p, q, beta)
        return outer * kl(p, m) + (1 - outer) * kl(q, m)

    return js


def weighted_sum(student, teacher, beta):
    p, q = teacher.exp(), student.exp()
    return beta * kl(p, q) + (1 - beta) * kl(q, p)


def turned(student, teacher, beta):
    p, q = teacher.exp(), student.exp()
    m = beta * p + (1 - beta) * q
    return beta * kl(m, p) + (1 - beta) * kl(m, q)


def other_end(student, teacher, beta):
    if beta in (0, 1):
        return divergence()(student, teacher, 1 - beta)
    return divergence()(student, teacher, beta)


def one_number(student, teacher, beta):
    return divergence()(student, teacher, beta).mean()


def joined(log_probs, ids, rest=None, chosen=None):
    left = log_probs.scatter(-1, ids, float("-inf"))
    rest = left.logsumexp(-1, keepdim=True) if rest is None else rest(log_probs, left, ids)
    chosen = log_probs.gather(-1, ids) if chosen is None else chosen(log_probs, ids)
    return torch.cat((chosen, rest), -1)


def in_place(log_probs, ids):
    chosen = log_probs.gather(-1, ids)
    return torch.cat((chosen, log_probs.scatter_(-1, ids, float("-inf")).logsumexp(-1, keepdim=True)), -1)


def one_minus(log_probs, left, ids):
    return (1 - log_probs.gather(-1, ids).exp().sum(-1, keepdim=True)).log()


def mean_of_others(log_probs, left, ids):
    count = log_probs.shape[-1] - ids.shape[-1]
    return left.masked_fill(left.isinf(), 0).sum(-1, keepdim=True) / count


def stored(probability=2, rest=1, id_bytes=None, rest_id=0):
    def count(tokens, vocab, k=None):
        if k is None:
            return probability * tokens * vocab
        ids = id_bytes or (2 if vocab <= 65536 else 4)
        return tokens * (probability * (k + rest) + ids * (k + rest_id))

    return count


WRONG = {
    "11/forward_kl": [
        (reverse, "reverse KL"),
        (scaled(0), "T² is missing"),
        (scaled(1), "T², not T"),
        (torch_mean, "vocabulary"),
        (torch_sum, "take the mean"),
        (crossed, "cross-entropy"),
        (student_only, "only the student's"),
        (multiplied, "you multiplied"),
        (over_tokens, "over the tokens"),
        (lambda student, teacher, temperature=1.0: -scaled(2)(student, teacher, temperature), "sign"),
        (lambda student, teacher, temperature=1.0: scaled(2)(student, teacher), "temperature is not used"),
        (scaled(2), "log_softmax"),
        (lambda student, teacher, temperature=1.0: None, "return"),
    ],
    "11/gradient": [
        (slope(sign=-1), "sign is turned"),
        (slope(mean=False), "number of tokens"),
        (slope(power=2), "one T too many"),
        (slope(power=0), "one T is missing"),
        (slope(power=-1), "not 1/T"),
        (slope(cold=True), "temperature 1"),
        (of_logits, "difference of logits"),
        (per_logit, "not of all logits"),
    ],
    "11/jensen_shannon": [
        (divergence(ends=False), "gives zero"),
        (divergence(swap_mixture=True, swap_weights=True), "in the mixture and before"),
        (divergence(swap_weights=True), "before the parts"),
        (divergence(swap_mixture=True), "in the mixture"),
        (divergence(mixed=lambda p, q, beta: p**beta * q ** (1 - beta)), "mix the probabilities"),
        (weighted_sum, "mixture is missing"),
        (turned, "mixture second"),
        (other_end, "the other KL"),
        (one_number, "one number"),
        (lambda student, teacher, beta: divergence()(student, teacher, beta if beta in (0, 1) else 0.5), "not used"),
    ],
    "11/bucketed": [
        (lambda log_probs, ids: log_probs.gather(-1, ids), "is missing"),
        (lambda log_probs, ids: log_probs.gather(-1, ids).log_softmax(-1), "scaled up"),
        (lambda log_probs, ids: joined(log_probs, ids).exp(), "log-probabilities are asked for"),
        (lambda log_probs, ids: joined(log_probs, ids, lambda *x: one_minus(*x).exp()), "take its logarithm"),
        (lambda log_probs, ids: joined(log_probs, ids, one_minus), "loses all digits"),
        (lambda log_probs, ids: joined(log_probs, ids, mean_of_others), "the mean of"),
        (lambda log_probs, ids: joined(log_probs, ids, lambda p, left, i: p.logsumexp(-1, keepdim=True)), "log 1 = 0"),
        (lambda log_probs, ids: joined(log_probs, ids, lambda p, left, i: left.amax(-1, keepdim=True)), "likeliest"),
        (lambda log_probs, ids: joined(log_probs, ids, chosen=lambda p, i: p.topk(i.shape[-1]).values), "order"),
        (lambda log_probs, ids: joined(log_probs, ids, chosen=lambda p, i: p[..., : i.shape[-1]]), "the ids given"),
        (lambda log_probs, ids: joined(log_probs, ids).roll(1, -1), "comes last"),
        (in_place, "scatter_"),
    ],
    "11/stored_bytes": [
        (stored(probability=4), "2 bytes each"),
        (lambda tokens, vocab, k=None: stored(4 if k else 2)(tokens, vocab, k), "2 bytes, as half precision"),
        (stored(rest=0), "is missing"),
        (stored(rest_id=1), "needs no id"),
        (stored(id_bytes=4), "fits ids of 2 bytes"),
        (stored(id_bytes=2), "do not fit"),
        (lambda tokens, vocab, k=None: 2 * tokens * vocab, "only k are kept"),
        (lambda tokens, vocab, k=None: stored()(1, vocab, k), "for one token"),
        (lambda tokens, vocab, k=None: stored()(tokens, vocab, k or vocab) - (0 if k else 2 * tokens), "no ids"),
    ],
}
