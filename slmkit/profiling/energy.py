"""Energy from the processor's own counters (RAPL), where Linux shows them: joules of whole packages.

The counters see all that runs on the processor, the idle cores and the neighbours too, and not the memory on most
machines. Virtual machines have none as a rule, and many systems let only root read them.
"""

from pathlib import Path

FOLDER = Path("/sys/class/powercap")


class Energy:
    """`with Energy() as used: …`; then `used.joules`. Raises OSError, one line, where there is nothing to read.

    A counter that passes its range begins at zero again. That is made good once, so keep blocks to some minutes.
    """

    def __init__(self, folder: Path = FOLDER):
        self.zones = packages(folder)
        if reason := why_not(folder):
            raise OSError(reason)

    def __enter__(self) -> "Energy":
        self._before = [_microjoules(zone) for zone in self.zones]
        return self

    def __exit__(self, *_):
        self.joules = 0.0
        for zone, before in zip(self.zones, self._before, strict=True):
            used = _microjoules(zone) - before
            self.joules += (used if used >= 0 else used + _microjoules(zone, "max_energy_range_uj")) / 1e6


def packages(folder: Path = FOLDER) -> list[Path]:
    """The zones that are whole processors; their parts (cores, memory controller) are counted in them."""
    return [path.parent for path in sorted(folder.glob("*rapl:*/name")) if path.read_text().startswith("package")]


def why_not(folder: Path = FOLDER) -> str:
    """Why there is no energy to read, in one line; empty where there is."""
    zones = packages(folder)
    try:
        for zone in zones:
            _microjoules(zone)
    except OSError:
        return f"only root may read the energy counters under {folder}"
    return "" if zones else f"this machine shows no energy counters under {folder}"


def _microjoules(zone: Path, name: str = "energy_uj") -> int:
    return int((zone / name).read_text())
