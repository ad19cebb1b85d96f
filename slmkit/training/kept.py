"""Where a run is kept so that nobody trains it twice: a folder named by everything its result depends on."""

import hashlib
import json
from pathlib import Path

import torch

from slmkit.data.packing import TokenData
from slmkit.model.decoder import Decoder
from slmkit.paths import build_folder
from slmkit.training.checkpoint import RUNTIME_FIELDS
from slmkit.training.config import TrainingConfig

CODE = ("config.py", "model/*.py", "data/packing.py", "data/mixing.py", "training/*.py", "evaluation/bits.py")


def run_folder(model: Decoder, data: TokenData, config: TrainingConfig, objective=None) -> Path:
    """A folder under `build/models` for this run: the same model, weights included, data, configuration and code.

    Give it to `slmkit.train` as `folder`: a finished run is then read back, an interrupted one goes on. What an
    `objective` depends on, a teacher's weights say, it names as `content`, a tuple of tensors.
    """
    training = {name: value for name, value in config.to_dict().items() if name not in RUNTIME_FIELDS}
    circumstances = [torch.__version__, str(model.embedding.weight.device), torch.get_num_threads()]
    digest = hashlib.sha256(json.dumps([model.config.to_dict(), training, circumstances]).encode())
    for tensor in (*model.parameters(), *data.train.content, data.held_out.tokens, *getattr(objective, "content", ())):
        digest.update(tensor.detach().cpu().numpy().tobytes())
    package = Path(__file__).resolve().parents[1]
    for path in sorted(path for pattern in CODE for path in package.glob(pattern)):
        digest.update(path.read_bytes())
    return build_folder() / "models" / digest.hexdigest()[:16]
