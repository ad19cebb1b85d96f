"""Where things lie: the clone's root, and the folder for everything that is made from it."""

import os
from pathlib import Path


def root() -> Path:
    """The clone's top folder, where slmkit was installed from; the working folder when slmkit is installed alone."""
    clone = Path(__file__).resolve().parents[1]
    return clone if (clone / "pyproject.toml").is_file() else Path.cwd()


def build_folder() -> Path:
    """Where models, tokens and executed labs are kept: SLMKIT_BUILD, or `build` in the clone. Made if missing."""
    folder = Path(os.environ.get("SLMKIT_BUILD") or root() / "build")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
