"""Right answers to lab 11's exercises, written otherwise than the lab's."""

import math

import torch
import torch.nn.functional as F


def kl_by_torch(student, teacher, temperature=1.0):
    q, p = F.log_softmax(student / temperature, -1), F.softmax(teacher / temperature, -1)
    return F.kl_div(q, p, reduction="batchmean") * temperature**2


def kl_by_entropies(student, teacher, temperature=1.0):
    p = (teacher / temperature).softmax(-1)
    crossed = F.cross_entropy(student / temperature, p)
    own = F.cross_entropy(teacher / temperature, p)
    return (crossed - own) * temperature * temperature


def gradient_by_token(student, teacher, temperature=1.0):
    rows = []
    for one, other in zip(student, teacher):
        q, p = torch.softmax(one / temperature, 0), torch.softmax(other / temperature, 0)
        rows.append(temperature**2 * (q - p) / temperature / student.shape[0])
    return torch.stack(rows)


def gradient_by_exponentials(student, teacher, temperature=1.0):
    def probabilities(logits):
        weights = ((logits - logits.max(-1, keepdim=True).values) / temperature).exp()
        return weights / weights.sum(-1, keepdim=True)

    return (probabilities(student) - probabilities(teacher)).mul(temperature).div(student.size(0))


def divergence_by_torch(student, teacher, beta):
    def kl(log_q, log_p):
        return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)

    if beta == 0:
        return kl(student, teacher)
    if beta == 1:
        return kl(teacher, student)
    mixture = torch.logaddexp(teacher + math.log(beta), student + math.log(1 - beta))
    return beta * kl(mixture, teacher) + (1 - beta) * kl(mixture, student)


def divergence_by_entropies(student, teacher, beta):
    p, q = teacher.exp(), student.exp()
    if beta in (0, 1):
        first, second = (p, q) if beta == 0 else (q, p)
        return (first * first.log()).sum(-1) - (first * second.log()).sum(-1)
    m = torch.lerp(q, p, beta)

    def entropy(x):
        return -(x * x.log()).sum(-1)

    return entropy(m) - beta * entropy(p) - (1 - beta) * entropy(q)


def bucketed_by_mask(log_probs, ids):
    kept = F.one_hot(ids, log_probs.shape[-1]).sum(-2).bool()
    rest = log_probs.masked_fill(kept, -math.inf).logsumexp(-1)
    return torch.cat((torch.take_along_dim(log_probs, ids, -1), rest.unsqueeze(-1)), dim=-1)


def bucketed_by_row(log_probs, ids):
    rows = []
    for values, chosen in zip(log_probs.flatten(0, -2), ids.flatten(0, -2).tolist()):
        others = [i for i in range(len(values)) if i not in chosen]
        rows.append(torch.cat((values[chosen], values[others].logsumexp(0)[None])))
    return torch.stack(rows).view(*ids.shape[:-1], -1)


def bytes_by_parts(tokens, vocab, k=None):
    if k is None:
        return tokens * vocab * 2
    probabilities, ids = tokens * k * 2, tokens * k * (4 if vocab > 2**16 else 2)
    return probabilities + ids + tokens * 2


def bytes_by_tensors(tokens, vocab, k=None):
    def size(columns, kind):
        return torch.empty(tokens, columns, dtype=kind, device="meta").nbytes

    if k is None:
        return size(vocab, torch.float16)
    return size(k + 1, torch.float16) + size(k, torch.int16 if vocab <= 65536 else torch.int32)


RIGHT = {
    "11/forward_kl": [kl_by_torch, kl_by_entropies],
    "11/gradient": [gradient_by_token, gradient_by_exponentials],
    "11/jensen_shannon": [divergence_by_torch, divergence_by_entropies],
    "11/bucketed": [bucketed_by_mask, bucketed_by_row],
    "11/stored_bytes": [bytes_by_parts, bytes_by_tensors],
}
