"""The learned filter: it learns what can be learned, alike each time, and its thresholds keep what they say."""

import random

import pytest
import torch

from slmkit.data import quality
from slmkit.data.quality import QualityClassifier, QualityConfig, fit

GOOD, BAD = ("sum", "of", "the", "angles", "proved", "figure"), ("buy", "now", "the", "cheap", "offer", "day")
SMALL = QualityConfig(buckets=2**10, width=8, epochs=20, learning_rate=0.1)


def documents(count: int, seed: int = 0) -> tuple[list[str], list[int]]:
    rng = random.Random(seed)
    labels = [i % 2 for i in range(count)]
    return [" ".join(rng.choices(GOOD if label else BAD, k=12)) for label in labels], labels


def test_it_tells_apart_new_documents_of_both_kinds():
    classifier = fit(*documents(60), SMALL)
    texts, labels = documents(40, seed=1)
    scores = classifier.scores(texts)
    assert ((scores > 0.5).int() == torch.tensor(labels)).all()
    assert 0 <= scores.min() < scores.max() <= 1


def test_order_of_words_counts_with_pairs_only():
    texts = ["one two three", "three two one"] * 30
    labels = [1, 0] * 30
    pairs = fit(texts, labels, SMALL).scores(texts[:2])
    single = fit(texts, labels, QualityConfig(buckets=2**10, grams=1)).scores(texts[:2])
    assert pairs[0] > 0.8 > 0.2 > pairs[1]
    assert single[0] == single[1]


def test_scores_keep_the_scale_of_the_targets():
    texts, labels = documents(60)
    scores = fit(texts, [4 + 3 * label for label in labels], SMALL).scores(texts)
    assert scores[1::2].mean() == pytest.approx(7, abs=0.3)
    assert scores[::2].mean() == pytest.approx(4, abs=0.3)


def test_a_seed_decides_the_classifier_and_it_survives_the_disk(tmp_path):
    texts, labels = documents(40)
    first, again, other = (fit(texts, labels, QualityConfig(2**10, 8, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first.scores(texts), again.scores(texts))
    assert not torch.equal(first.scores(texts), other.scores(texts))
    first.save(tmp_path)
    read = QualityClassifier.load(tmp_path)
    assert torch.equal(read.scores(texts), first.scores(texts))
    (tmp_path / quality.WEIGHTS).write_bytes(b"cut short")
    with pytest.raises(ValueError, match=r"quality\.safetensors is not of this classifier"):
        QualityClassifier.load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"needs quality\.json"):
        QualityClassifier.load(tmp_path / "elsewhere")


def test_a_score_is_of_its_document_alone_and_empty_ones_have_one():
    classifier = fit(*documents(40), SMALL)
    texts, _ = documents(6, seed=2)
    together = classifier.scores([*texts, "", "…"])
    assert torch.equal(together[:6], torch.cat([classifier.scores([text]) for text in texts]))
    assert together.isfinite().all()
    assert classifier.scores([]).shape == (0,)


def test_the_step_reads_each_document_of_a_batch_by_itself():
    classifier = fit(*documents(40), SMALL)
    texts, _ = documents(5, seed=3)
    known = [quality.features(text, SMALL) for text in [*texts, "one", texts[0] * 3]]
    torch.testing.assert_close(classifier(known), torch.cat([classifier([one]) for one in known]))


@pytest.mark.parametrize(
    ("texts", "targets", "said"),
    [(["a", "b"], [1], "2 texts have 1 targets"), (["a", "b"], [1, 1], "all targets are alike"), ([], [], "alike")],
)
def test_what_cannot_be_learned_is_refused(texts, targets, said):
    with pytest.raises(ValueError, match=said):
        fit(texts, targets)


def test_the_threshold_for_a_share_keeps_that_share():
    scores = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    for share in (0.001, 0.1, 0.333, 1.0):
        assert (scores >= quality.threshold_for_share(scores, share)).sum() == round(1000 * share)
    with pytest.raises(ValueError, match="above 0"):
        quality.threshold_for_share(scores, 0.0)


def test_the_threshold_for_a_precision_is_the_lowest_that_reaches_it():
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.4])
    good = torch.tensor([True, True, False, True, True, False, True])
    for precision, threshold in ((1.0, 0.8), (0.75, 0.6), (0.7, 0.4), (0.1, 0.4)):
        assert quality.threshold_for_precision(scores, good, precision) == pytest.approx(threshold)
    # Of the two that score 0.5 either both are kept or none: that 4 of the first 5 are good is no threshold.
    good = torch.tensor([True, True, False, True, True, False, False])
    assert quality.threshold_for_precision(scores, good, 0.8) == pytest.approx(0.8)
    with pytest.raises(ValueError, match=r"100% are good; at best 50%"):
        quality.threshold_for_precision(torch.tensor([2.0, 1.0]), torch.tensor([False, True]), 1.0)


def test_ridge_is_least_squares_on_which_words_occur():
    texts, targets = ["good one", "good two", "bad one", "bad two bad"], [6.0, 8.0, 2.0, 4.0]
    exact = quality.ridge(texts, targets, [*texts, "good", "unknown"], penalty=1e-9)
    assert exact.tolist() == pytest.approx([6, 8, 2, 4, 7, 5], abs=1e-4)
    weak = quality.ridge(texts, targets, texts, penalty=1e6)
    assert weak.tolist() == pytest.approx([5] * 4, abs=1e-3)
    # One word in half of the texts, two of them: (X'X + penalty) w = X'y with X'X = 1, X'y = 2.
    assert quality.ridge(["a", "b"], [1.0, 5.0], ["a"], penalty=1.0).item() == pytest.approx(3 - 2 * 0.5)
