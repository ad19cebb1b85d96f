"""A filter that learned what is good: a small classifier of documents, in the shape of fastText (Joulin et al. 2016).

Words and pairs of words are hashed into buckets; each bucket has a vector; a document is the mean of its vectors, and
one linear layer reads a score from it. DCLM (Li et al. 2024) keeps the tenth of the web that such a classifier puts
first; FineWeb-Edu (Penedo et al. 2024) keeps what a larger classifier, trained on a language model's scores of 0 to 5
for educational value, gives 3 or more.
"""

import json
import os
import random
import re
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from slmkit.checks import above, positive

WEIGHTS, CONFIG = "quality.safetensors", "quality.json"
TOKEN = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class QualityConfig:
    """`buckets` of `width` numbers each; single words and runs of up to `grams`; `rows` documents a step."""

    buckets: int = 2**16
    width: int = 16
    grams: int = 2
    epochs: int = 10
    rows: int = 32
    learning_rate: float = 0.02
    seed: int = 0

    def __post_init__(self):
        for name in ("buckets", "width", "grams", "epochs", "rows"):
            positive(name, getattr(self, name))
        above("learning_rate", self.learning_rate, 0)


def features(text: str, config: QualityConfig) -> torch.Tensor:
    """The buckets of a text's words, and of its runs of up to `grams` words; one at least, so that a mean exists."""
    words = TOKEN.findall(text.lower())
    runs = (" ".join(words[i : i + n]) for n in range(1, config.grams + 1) for i in range(len(words) - n + 1))
    return torch.tensor([zlib.crc32(run.encode()) % config.buckets for run in runs] or [0])


class QualityClassifier(nn.Module):
    """Documents to scores: a probability when it was trained on labels of 0 and 1, else a score of the same scale."""

    def __init__(self, config: QualityConfig | None = None):
        super().__init__()
        self.config = config or QualityConfig()
        generator = torch.Generator().manual_seed(self.config.seed)
        table = torch.rand(self.config.buckets, self.config.width, generator=generator) * 2 - 1
        self.embed = nn.EmbeddingBag.from_pretrained(table / self.config.width, freeze=False, mode="mean")
        self.head = nn.Linear(self.config.width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("scale", torch.tensor([0.0, 1.0]))  # mean and deviation of the scores
        self.register_buffer("labels", torch.tensor(False))

    def forward(self, documents: Sequence[torch.Tensor]) -> torch.Tensor:
        """Features of each document -> a number each, before `scores` brings it to its scale."""
        starts = torch.tensor([0, *(len(one) for one in documents[:-1])]).cumsum(0)
        return self.head(self.embed(torch.cat(list(documents)), starts)).squeeze(-1)

    @torch.no_grad()
    def scores(self, texts: Sequence[str]) -> torch.Tensor:
        """texts -> [texts], higher is better."""
        if not len(texts):
            return torch.zeros(0)
        raw = torch.cat([self([features(text, self.config)]) for text in texts])
        return raw.sigmoid() if self.labels else raw * self.scale[1] + self.scale[0]

    def save(self, folder: str | Path):
        from safetensors.torch import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.state_dict(), folder / f"{WEIGHTS}.partial")
        os.replace(folder / f"{WEIGHTS}.partial", folder / WEIGHTS)
        (folder / CONFIG).write_text(json.dumps(asdict(self.config), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> "QualityClassifier":
        from safetensors.torch import load_file

        folder = Path(folder)
        if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
            raise FileNotFoundError(f"there is no quality classifier in {folder}; it needs {CONFIG} and {WEIGHTS}")
        model = cls(QualityConfig(**json.loads((folder / CONFIG).read_text(encoding="utf-8"))))
        try:
            model.load_state_dict(load_file(folder / WEIGHTS))
        except Exception as error:
            raise ValueError(f"{folder / WEIGHTS} is not of this classifier: {str(error).splitlines()[0]}") from None
        return model


def fit(texts: Sequence[str], targets: Sequence[float], config: QualityConfig | None = None) -> QualityClassifier:
    """A classifier of these texts. Targets that are all 0 or 1 are labels, others are scores.

    The same texts, targets and seed give the same classifier. Raises ValueError when nothing can be learned.
    """
    if len(texts) != len(targets):
        raise ValueError(f"{len(texts)} texts have {len(targets)} targets; each text needs one")
    if len(set(map(float, targets))) < 2:
        raise ValueError("all targets are alike; a filter learns from good and from bad documents")
    model, target = QualityClassifier(config), torch.tensor([float(one) for one in targets])
    config = model.config
    if set(target.tolist()) <= {0.0, 1.0}:
        model.labels.fill_(True)
    else:
        model.scale.copy_(torch.stack([target.mean(), target.std()]))
        target = (target - model.scale[0]) / model.scale[1]
    loss = F.binary_cross_entropy_with_logits if model.labels else F.mse_loss
    known = [features(text, config) for text in texts]
    rng = random.Random(config.seed)
    optimizer = torch.optim.Adagrad(model.parameters(), lr=config.learning_rate)  # rare words keep a large step
    for _ in range(config.epochs):
        order = rng.sample(range(len(texts)), len(texts))
        for rows in (order[i : i + config.rows] for i in range(0, len(order), config.rows)):
            optimizer.zero_grad()
            loss(model([known[i] for i in rows]), target[rows]).backward()
            optimizer.step()
    return model


def ridge(
    texts: Sequence[str], targets: Sequence[float], new: Sequence[str], buckets: int = 2048, penalty: float = 30.0
) -> torch.Tensor:
    """The baseline to beat: scores of `new` from which words occur in it at all, linear, in closed form.

    Least squares on 0 and 1 for each bucket of words, with that penalty on the squared weights. -> [new]
    """
    rows = torch.zeros(len(texts) + len(new), buckets, dtype=torch.float64)
    for row, text in zip(rows, [*texts, *new]):
        row[features(text, QualityConfig(buckets, grams=1))] = 1
    known, target = rows[: len(texts)], torch.as_tensor(targets, dtype=torch.float64)
    mean = known.mean(0)
    square = (known - mean).T @ (known - mean) + penalty * torch.eye(buckets, dtype=torch.float64)
    weights = torch.linalg.solve(square, (known - mean).T @ (target - target.mean()))
    return ((rows[len(texts) :] - mean) @ weights + target.mean()).float()


def threshold_for_share(scores: torch.Tensor, share: float) -> float:
    """The threshold at which that share of the documents scores as much or more, as DCLM keeps a tenth."""
    if not 0 < share <= 1:
        raise ValueError(f"the share to keep is {share!r}; it must be above 0 and at most 1")
    return torch.sort(scores, descending=True).values[max(round(share * len(scores)), 1) - 1].item()


def threshold_for_precision(scores: torch.Tensor, good: torch.Tensor, precision: float) -> float:
    """The lowest threshold at which that share of what is kept is good: it keeps the most.

    scores [documents], good [documents] of bool. Raises ValueError when no threshold reaches the precision.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    reached = good[order].double().cumsum(0) / torch.arange(1, len(order) + 1)
    last = torch.cat([scores[order].diff() < 0, torch.tensor([True])])  # of equal scores all are kept, or none
    enough = ((reached >= precision) & last).nonzero()
    if not len(enough):
        raise ValueError(f"no threshold keeps documents of which {precision:.0%} are good; at best {reached.max():.0%}")
    return scores[order[enough[-1]]].item()
