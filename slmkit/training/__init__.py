"""Training: one loop, its configuration, schedules, optimizer and checkpoints."""

from slmkit.training.config import TrainingConfig
from slmkit.training.history import History
from slmkit.training.schedules import learning_rate
from slmkit.training.trainer import train

__all__ = ["History", "TrainingConfig", "learning_rate", "train"]
