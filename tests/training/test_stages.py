"""A run in stages reads what each stage says, goes on where a source was left, and branches to the same bits."""

from dataclasses import replace

import pytest
import small_run as small
import torch

from slmkit.data.packing import TokenData, TokenRow
from slmkit.training.checkpoint import BadCheckpoint
from slmkit.training.config import TrainingConfig
from slmkit.training.kept import run_folder
from slmkit.training.schedules import share
from slmkit.training.stages import Stage, Staged, branch, decay_from

APART = 10_000


def counted(source: int, length: int) -> TokenRow:
    return TokenRow(source * APART + torch.arange(length, dtype=torch.int32), length, "none", 10 * APART)


def staged(*stages: Stage, length: int = 400) -> Staged:
    return Staged({"rough": counted(0, length), "good": counted(1, length)}, stages)


def firsts(batches, steps) -> list[int]:
    return [int(first) for step in steps for first in batches(step)[0][:, 0]]


def test_each_stage_draws_from_its_sources():
    batches = staged(Stage(5, {"rough": 1}), Stage(3, {"rough": 1, "good": 1})).batches(8, 8)
    assert all(place < APART for place in firsts(batches, range(5)))
    shares = [sum(place >= APART for place in firsts(batches, [step])) for step in (5, 6, 7)]
    assert all(abs(share - 4) <= 1 for share in shares)
    with pytest.raises(IndexError, match="8 steps"):
        batches(8)


@pytest.mark.parametrize("first", [{"rough": 1}, {"good": 1, "rough": 3}, {"rough": 1, "good": 0}])
def test_a_source_goes_on_where_the_stage_before_left_it(first):
    """No window of it comes twice before all have come, whatever else was read in between."""
    batches = staged(Stage(4, first), Stage(2, {"good": 1}), Stage(30, {"rough": 2, "good": 1})).batches(6, 8, seed=3)
    windows = batches.parts[-1].sources[0].windows
    own = [place for place in firsts(batches, range(36)) if place < APART][:windows]
    assert len(own) == windows
    assert len(set(own)) == windows


def test_a_batch_depends_on_seed_and_step_alone():
    stages = Stage(4, {"rough": 1}), Stage(4, {"good": 1, "rough": 1})
    used, fresh = (staged(*stages).batches(4, 8, 3) for _ in range(2))
    firsts(used, [7, 0, 5])
    assert firsts(used, [6]) == firsts(fresh, [6])
    assert firsts(fresh, [6]) != firsts(staged(*stages).batches(4, 8, 4), [6])


def test_a_later_stage_begins_with_the_first_of_what_nobody_has_read():
    late = staged(Stage(4, {"rough": 1}), Stage(3, {"good": 1})).batches(4, 8, 3)
    alone = staged(Stage(3, {"good": 1})).batches(4, 8, 3)
    assert firsts(late, [4, 5, 6]) == firsts(alone, [0, 1, 2])


def test_a_decay_takes_the_steps_that_it_is_given():
    stable = TrainingConfig(100, schedule="constant", warmup=5, final_rate=0.0)
    rates = [share(decay_from(stable, 60, 20), step) for step in range(80)]
    assert rates[5:61] == [1.0] * 56
    assert rates[61:] == pytest.approx([left / 20 for left in range(19, 0, -1)])


def two(*stages: Stage) -> TokenData:
    return TokenData(Staged({"rough": small.row(3000, 1), "good": small.row(900, 4)}, stages), small.row(500, 2))


HALVES = Stage(15, {"rough": 1}), Stage(15, {"rough": 1, "good": 1})


def test_an_interrupted_run_in_stages_ends_in_the_same_bits(tmp_path):
    small.interrupted_equals_unbroken(two(*HALVES), tmp_path, every=6, stop=18)


def test_stages_must_fill_the_run_and_name_their_sources():
    with pytest.raises(ValueError, match="the stages have 30 steps together, the run has 31"):
        small.train(small.model(), two(*HALVES), small.config(steps=31), progress=False)
    with pytest.raises(ValueError, match="stage 2 draws from 'god'; the sources are rough, good"):
        two(HALVES[0], Stage(15, {"god": 1}))
    with pytest.raises(ValueError, match="a weight above 0"):
        two(Stage(30, {"rough": 0}))
    with pytest.raises(ValueError, match="at least one"):
        two()
    with pytest.raises(ValueError, match="0 steps"):
        Stage(0, {"rough": 1})


def test_the_folder_of_a_run_changes_with_its_stages():
    other = Stage(14, {"rough": 1}), Stage(16, {"rough": 1, "good": 1})
    folders = {run_folder(small.model(), two(*stages), small.config()) for stages in (HALVES, other, HALVES[::-1])}
    assert len(folders) == 3


@pytest.mark.parametrize("length", [6, 10])
def test_a_decay_branched_from_a_stable_run_equals_the_run_in_one_piece(tmp_path, length):
    stable = small.config(schedule="constant", steps=25, checkpoint_every=10)
    small.train(small.model(), small.data(), stable, tmp_path / "stable", progress=False)
    config = decay_from(stable, 20, length, final_rate=0.0)
    assert (config.steps, config.schedule) == (20 + length, "wsd")
    branch(tmp_path / "stable", 20, tmp_path / "decay", config)
    branched, whole = small.model(seed=5), small.model()
    history = small.train(branched, small.data(), config, tmp_path / "decay", progress=False)
    unbroken = small.train(whole, small.data(), replace(config, checkpoint_every=None), progress=False)
    assert history.losses[-length:] == unbroken.losses[-length:]
    for ours, theirs in zip(branched.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert (tmp_path / "stable" / "step_00000020").is_dir()


def test_a_branch_that_would_have_gone_another_way_is_refused(tmp_path):
    stable = small.config(schedule="constant", steps=20, checkpoint_every=10)
    small.train(small.model(), small.data(), stable, tmp_path / "stable", progress=False)
    config = decay_from(stable, 10, 5)
    for changed, message in (
        (replace(config, learning_rate=2e-2), "learning_rate = 0.01, the branch 0.02"),
        (replace(config, seed=1), "seed"),
        (replace(config, decay=0.9), "other learning rates before step 10"),
    ):
        with pytest.raises(BadCheckpoint, match=message):
            branch(tmp_path / "stable", 10, tmp_path / "other", changed)
    with pytest.raises(BadCheckpoint, match="no whole checkpoint of step 7; it has step_00000010, step_00000020"):
        branch(tmp_path / "stable", 7, tmp_path / "other", config)
    assert not (tmp_path / "other").exists()
    with pytest.raises(ValueError, match="cosine"):
        decay_from(small.config(), 10, 5)
    with pytest.raises(ValueError, match="warm-up"):
        decay_from(small.config(schedule="wsd", warmup=8), 5, 5)
