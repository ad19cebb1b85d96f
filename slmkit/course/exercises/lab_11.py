"""Checkers of lab 11, distillation."""

import torch

from slmkit.course.checking import Wrong, call, compare, exercise

TOKENS, VOCAB = 3, 7


def _logits(seed: int) -> torch.Tensor:
    return 2 * torch.randn(TOKENS, VOCAB, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    return (p * (p / q).log()).sum(-1)


@exercise("11/forward_kl")
def forward_kl(answer):
    student, teacher = _logits(1), _logits(2)
    for T in (1.0, 3.0):
        q, p = (student / T).softmax(-1), (teacher / T).softmax(-1)
        right, hot = T * T * _kl(p, q).mean(), T != 1
        mistakes = {
            "that is the reverse KL; the forward one weighs with the teacher's probabilities": T * T * _kl(q, p).mean(),
            "that is the sum over tokens; take the mean": T * T * _kl(p, q).sum(),
            "that is the mean over the vocabulary too, as kl_div's reduction='mean' gives; sum over it":
                T * T * _kl(p, q).mean() / VOCAB,
            "the sign is turned: log p minus log q, not log q minus log p": -right,
            "that is the cross-entropy; take the teacher's own entropy off": -T * T * (p * q.log()).sum(-1).mean(),
            "the softmax runs over the tokens; it belongs over the vocabulary, the last axis":
                T * T * _kl((teacher / T).softmax(0), (student / T).softmax(0)).mean(),
            "that is in bits; the natural logarithm is asked for": right / torch.tensor(2.0).log(),
        }  # fmt: skip
        if hot:
            cold = _kl(teacher.softmax(-1), student.softmax(-1)).mean()
            mistakes |= {
                "the factor T² is missing": right / T**2, "the factor is T², not T": right / T,
                "the temperature is not used": cold,
                "the logits are not divided by the temperature": T * T * cold,
                "only the student's logits are divided by the temperature; do it to both":
                    T * T * _kl(teacher.softmax(-1), q).mean(),
                "only the teacher's logits are divided by the temperature; do it to both":
                    T * T * _kl(p, student.softmax(-1)).mean(),
                "divide by the temperature; you multiplied":
                    T * T * _kl((teacher * T).softmax(-1), (student * T).softmax(-1)).mean(),
            }  # fmt: skip
        args = (student, teacher, T) if hot else (student, teacher)
        compare(call(answer, *args), right, f"forward_kl at temperature {T:g}", mistakes)
    wide = 400 * _logits(1)
    got = call(answer, wide, teacher)
    if not torch.as_tensor(got).isfinite():
        raise Wrong("with large logits the result is not a number: use log_softmax, not the logarithm of a softmax")


@exercise("11/gradient")
def gradient(answer):
    student, teacher = _logits(3), _logits(4)
    for T in (1.0, 2.0):
        q, p = (student / T).softmax(-1), (teacher / T).softmax(-1)
        right = T * (q - p) / TOKENS
        mistakes = {
            "the sign is turned: what the student says too often must fall, so the gradient is q - p": -right,
            "divide by the number of tokens, since the loss is a mean": right * TOKENS,
            "divide by the number of tokens, not of all logits": right / VOCAB,
            "divide by the number of tokens, not by the size of the vocabulary": right * TOKENS / VOCAB,
            "that is the teacher's part alone; the student's softmax belongs in": -T * p / TOKENS,
            "the difference of logits is their limit for a large T; take that of the softmaxes":
                T * (student - teacher) / TOKENS,
        }  # fmt: skip
        if T != 1:
            mistakes |= {
                "one T is missing: T² of the loss, and 1/T of the logits": right / T,
                "one T too many: the logits are divided by T, which takes one off T²": right * T,
                "the factor is T, not 1/T": right / T**2,
                "the softmaxes are those at temperature 1; divide both logits by T":
                    T * (student.softmax(-1) - teacher.softmax(-1)) / TOKENS,
            }  # fmt: skip
        args = (student, teacher, T) if T != 1 else (student, teacher)
        compare(call(answer, *args), right, f"the gradient at temperature {T:g}", mistakes)


@exercise("11/jensen_shannon")
def jensen_shannon(answer):
    log_q, log_p = _logits(5).log_softmax(-1), _logits(6).log_softmax(-1)
    q, p = log_q.exp(), log_p.exp()

    def form(beta, weight=None, mixture=None):
        weight = beta if weight is None else weight
        m = beta * p + (1 - beta) * q if mixture is None else mixture
        return weight * _kl(p, m) + (1 - weight) * _kl(q, m)

    for beta in (0.2, 0.5):
        geometric = (beta * log_p + (1 - beta) * log_q).exp()
        mistakes = {
            "the parts are turned: KL(p ‖ m) and KL(q ‖ m), the mixture second":
                beta * _kl(beta * p + (1 - beta) * q, p) + (1 - beta) * _kl(beta * p + (1 - beta) * q, q),
            "that is a weighted sum of the two KLs; the mixture is missing": beta * _kl(p, q) + (1 - beta) * _kl(q, p),
            "the log-probabilities were mixed; mix the probabilities": form(beta, mixture=geometric),
            "the two parts are added without β and 1 - β": _kl(p, form_m := beta * p + (1 - beta) * q) + _kl(q, form_m),
            "only the teacher's part is there": beta * _kl(p, beta * p + (1 - beta) * q),
            "only the student's part is there": (1 - beta) * _kl(q, beta * p + (1 - beta) * q),
            "that is one number; keep one for each token": form(beta).mean(),
        }  # fmt: skip
        if beta != 0.5:
            mistakes |= {
                "β and 1 - β are exchanged, in the mixture and before the parts": form(1 - beta),
                "β and 1 - β are exchanged before the parts": form(beta, weight=1 - beta),
                "β and 1 - β are exchanged in the mixture": form(1 - beta, weight=beta),
                "β is not used": form(0.5),
            }  # fmt: skip
        compare(call(answer, log_q, log_p, beta), form(beta), f"the divergence for β = {beta}", mistakes)
    ends = {0: ("forward", _kl(p, q), _kl(q, p)), 1: ("reverse", _kl(q, p), _kl(p, q))}
    for beta, (name, right, other) in ends.items():
        mistakes = {f"that is the other KL; β = {beta} gives the {name} one": other,
                    f"β = {beta} gives zero: put the {name} KL in its place": torch.zeros(TOKENS).double()}  # fmt: skip
        compare(call(answer, log_q, log_p, beta), right, f"the divergence for β = {beta}", mistakes)


@exercise("11/bucketed")
def bucketed(answer):
    log_probs = _logits(7).log_softmax(-1)
    ids = log_probs.topk(2).indices.flip(-1)
    chosen, left = log_probs.gather(-1, ids), log_probs.scatter(-1, ids, -torch.inf)
    rest = left.exp().sum(-1, keepdim=True)
    right = torch.cat((chosen, rest.log()), -1)
    mistakes = {
        "the number for all other tokens is missing": chosen,
        "the number for all other tokens is a probability; take its logarithm": torch.cat((chosen, rest), -1),
        "the number for all other tokens comes last": torch.cat((rest.log(), chosen), -1),
        "these are probabilities; log-probabilities are asked for": right.exp(),
        "the k were scaled up to a sum of 1, and nothing is left for the others": chosen.log_softmax(-1),
        "the last number is the mean of the others' log-probabilities; it is the logarithm of the sum of probabilities":
            torch.cat((chosen, left.masked_fill(left.isinf(), 0).sum(-1, keepdim=True) / (VOCAB - 2)), -1),
        "the last number is the sum of the others' log-probabilities; it is the logarithm of the sum of probabilities":
            torch.cat((chosen, left.masked_fill(left.isinf(), 0).sum(-1, keepdim=True)), -1),
        "the last number counts the chosen tokens too: it is log 1 = 0":
            torch.cat((chosen, log_probs.logsumexp(-1, keepdim=True)), -1),
        "the last number is the likeliest of the others alone; join all of them":
            torch.cat((chosen, left.amax(-1, keepdim=True)), -1),
        "keep the order of the ids": torch.cat((log_probs.topk(2).values, rest.log()), -1),
        "those are the first k entries, not the ids given": torch.cat((log_probs[:, :2], rest.log()), -1),
    }  # fmt: skip
    given = log_probs.clone()
    compare(call(answer, given, ids), right, "bucketed for three tokens", mistakes, atol=1e-6)
    if not torch.equal(given, log_probs):
        raise Wrong("log_probs itself was changed; the loss needs it again, so use scatter, not scatter_")
    deep = call(answer, log_probs[None], ids[None])
    compare(deep, right[None], "bucketed with one more axis in front", atol=1e-6)
    sure = torch.tensor([[30.0, 0, 0, 0]]).log_softmax(-1)
    last = call(answer, sure, torch.tensor([[0]]))[0, -1]
    if not torch.isfinite(last) or abs(last.item() - (-30 + torch.tensor(3.0).log().item())) > 0.01:
        raise Wrong("where the teacher is nearly sure, 1 minus the sum loses all digits; use logsumexp of the others")


@exercise("11/stored_bytes")
def stored_bytes(answer):
    for tokens, vocab, k in ((100, 1024, None), (100, 1024, 8), (7, 100_000, 5), (3, 65536, 2)):
        ids = 2 if vocab <= 65536 else 4
        right = 2 * tokens * vocab if k is None else tokens * (2 * (k + 1) + ids * k)
        mistakes = {"that is for one token": right // tokens}
        if k is None:
            mistakes["all of them take 2 bytes each and stand in order, so no ids are stored"] = 2 * right
            mistakes["ids of 4 bytes are not needed: all stand in order"] = 3 * right
        else:
            mistakes |= {
                "a log-probability takes 2 bytes, as half precision does": tokens * (4 * (k + 1) + ids * k),
                "the number for all other tokens is missing": tokens * (2 + ids) * k,
                "the number for all other tokens needs no id": tokens * (2 + ids) * (k + 1),
                "the ids are missing": tokens * 2 * (k + 1),
                "that is for all of the vocabulary; only k are kept": 2 * tokens * vocab,
                "a vocabulary of up to 65536 fits ids of 2 bytes": tokens * (2 * (k + 1) + 4 * k),
                "ids above 65535 do not fit 2 bytes": tokens * (2 * (k + 1) + 2 * k),
                "ids take 4 bytes, not 8": tokens * (2 * (k + 1) + 8 * k),
            }
        mistakes = {message: value for message, value in mistakes.items() if value != right}
        args = (tokens, vocab) if k is None else (tokens, vocab, k)
        compare(call(answer, *args), right, f"the bytes for {tokens} tokens, vocabulary {vocab}, k = {k}", mistakes)
