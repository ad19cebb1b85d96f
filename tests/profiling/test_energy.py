"""Energy counters, on folders made up like Linux's."""

import pytest

from slmkit.profiling.energy import Energy, packages, why_not


def zone(folder, name, called, used, largest=1_000_000_000):
    place = folder / name
    place.mkdir()
    for file, value in (("name", called), ("energy_uj", used), ("max_energy_range_uj", largest)):
        (place / file).write_text(f"{value}\n")
    return place / "energy_uj"


@pytest.fixture
def counters(tmp_path):
    first = zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 7_000_000, 10_000_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 1)  # counted in package-0
    zone(tmp_path, "intel-rapl:2", "psys", 1)  # the whole board
    return tmp_path, first, second


def test_whole_processors_are_added_up(counters):
    folder, first, second = counters
    assert [path.name for path in packages(folder)] == ["intel-rapl:0", "intel-rapl:1"]
    assert why_not(folder) == ""
    with Energy(folder) as used:
        first.write_text("6500000")
        second.write_text("9000000")
    assert used.joules == pytest.approx(1.5 + 2)


def test_a_counter_that_begins_again_is_made_good(counters):
    folder, _, second = counters
    with Energy(folder) as used:
        second.write_text("2000000")  # 7 to 10, and 2 more
    assert used.joules == pytest.approx(5)


def test_without_counters_there_is_one_line(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        assert why_not(folder) == f"this machine shows no energy counters under {folder}"
        with pytest.raises(OSError, match="this machine shows no energy counters"):
            Energy(folder)


def test_counters_that_may_not_be_read(counters):
    folder, first, _ = counters
    first.unlink()
    first.mkdir()  # reading it fails for every user, root too
    assert why_not(folder) == f"only root may read the energy counters under {folder}"
    with pytest.raises(OSError, match="only root may read"):
        Energy(folder)
