"""Checkpoints written while training goes on: the same bytes, one at a time, and no error is lost."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
import torch

import gansmith
from gansmith import checkpoint
from gansmith.checkpoint import checkpoint_folders, read_newest, save_checkpoint
from gansmith.errors import DivergedError, Interrupted, ResourceError
from gansmith.recipes import RECIPES
from gansmith.restore import restore
from gansmith.training import opening, session
from gansmith.training.adversarial import Adversarial
from gansmith.training.saver import Saver
from gansmith.training.snapshot import HostCopies
from tests.unit.test_checkpoint import tiny_state, train_one_step


def saver_in(folder: Path) -> Saver:
    return Saver(folder, "data", None, in_background=True)


class Gate:
    """Holds every write of a checkpoint until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened, self.reached, self.threads = threading.Event(), threading.Event(), set[int]()
        self._write = checkpoint.write_synced
        monkeypatch.setattr(checkpoint, "write_synced", self)

    def __call__(self, path: Path, content: bytes) -> None:
        self.threads.add(threading.get_ident())
        self.reached.set()
        assert self.opened.wait(30)
        self._write(path, content)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_background_checkpoint_is_the_same_byte_for_byte(tmp_path: Path) -> None:
    state = tiny_state()
    at_once = save_checkpoint(state, tmp_path / "at once", 1.5, "data")
    saver = saver_in(tmp_path / "later")
    saver.save(state, 1.5, True)
    saver.wait()
    assert saver.failure is None
    assert contents(tmp_path / "later" / at_once.name) == contents(at_once)


def test_training_goes_on_while_a_checkpoint_is_written_and_does_not_change_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tiny_state()
    expected = contents(save_checkpoint(state, tmp_path / "at once", 1.0, "data"))
    gate, saver = Gate(monkeypatch), saver_in(tmp_path / "later")
    saver.save(state, 1.0, True)
    train_one_step(state)
    assert gate.reached.wait(30)
    train_one_step(state)
    assert not checkpoint_folders(tmp_path / "later")
    gate.opened.set()
    saver.wait()
    (written,) = checkpoint_folders(tmp_path / "later")
    assert contents(written) == expected
    assert threading.get_ident() not in gate.threads


def test_next_save_waits_for_the_one_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They share one copy of the state in host memory."""
    state, gate, saver = tiny_state(), Gate(monkeypatch), saver_in(tmp_path)
    saver.save(state, 1.0, True)
    first = state.digest()
    assert gate.reached.wait(30)
    train_one_step(state)
    threading.Timer(0.3, gate.opened.set).start()
    saver.save(state, 2.0, True)
    assert gate.opened.is_set()
    saver.wait()
    newer, older = checkpoint_folders(tmp_path)
    for folder, digest in ((newer, state.digest()), (older, first)):
        restored = tiny_state()
        restore(restored, checkpoint.read_checkpoint(folder))
        assert restored.digest() == digest


@pytest.mark.faults
def test_05_failed_save_is_said_at_the_next_one_and_a_later_one_makes_it_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    state, saver = tiny_state(), saver_in(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_synced", full_disk)
        saver.save(state, 1.0, True)
        assert saver._under_way is not None
        assert saver._under_way.exception(30) is not None  # done, though nobody was told yet
    saver.save(state, 2.0, True)
    assert "could not save (No space left on device); earlier checkpoints are kept; training goes on" in caplog.text
    saver.wait()
    assert saver.failure is None
    assert read_newest(tmp_path)[1] == []
    assert not list(tmp_path.glob(".*"))


def full_disk(path: Path, content: bytes) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_bug_in_the_writing_thread_is_raised_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(path: Path, content: bytes) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr(checkpoint, "write_synced", bug)
    saver = saver_in(tmp_path)
    saver.save(tiny_state(), 1.0, True)
    with pytest.raises(TypeError, match="a bug"):
        saver.wait()


def test_host_copies_are_contiguous_and_made_anew_for_other_shapes() -> None:
    copies, weight = HostCopies(), torch.rand(3, 4, 5, 6).to(memory_format=torch.channels_last)
    ((first,),) = (group.values() for group in copies.of(({"a": weight},)))
    assert first.is_contiguous()
    assert torch.equal(first, weight)
    again = copies.of(({"a": weight + 1},))[0]["a"]
    assert again is first
    assert torch.equal(again, weight + 1)
    assert torch.equal(copies.of(({"a": weight[:2]},))[0]["a"], weight[:2])


@pytest.fixture
def background(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions save as they do on a GPU."""
    monkeypatch.setattr(session, "Saver", lambda *args, in_background: Saver(*args, in_background=True))


RECIPE = RECIPES["mlp"]().shrunk()
CALL = {"images": 64, "save_every": 16, "quiet": True}


def trained(folder: Path) -> Path:
    return gansmith.train("digits", RECIPE, out=folder, **CALL).folder / "checkpoints"  # type: ignore[arg-type]


@pytest.mark.usefixtures("background")
def test_run_waits_for_its_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    threading.Timer(0.3, gate.opened.set).start()
    assert int(checkpoint_folders(trained(tmp_path / "run"))[0].name) == 64
    assert not list((tmp_path / "run" / "checkpoints").glob(".*"))


@pytest.mark.faults
@pytest.mark.usefixtures("background")
def test_05_disk_full_to_the_end_is_an_error_also_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(checkpoint, "write_synced", full_disk)
    with pytest.raises(ResourceError, match=r"the end of the training could not be saved .*make room"):
        trained(tmp_path / "run")
    assert caplog.text.count("could not save (No space left on device)") == 4
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.faults
@pytest.mark.usefixtures("background")
def test_10_stop_waits_for_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, stopped = Gate(monkeypatch), session.StopSignal()
    stopped.received = 15
    monkeypatch.setattr(session, "StopSignal", lambda: stopped)
    threading.Timer(0.2, gate.opened.set).start()
    with pytest.raises(Interrupted):
        trained(tmp_path / "run")
    assert checkpoint_folders(tmp_path / "run" / "checkpoints")


@pytest.mark.usefixtures("background")
def test_error_in_training_leaves_a_whole_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Adversarial.step

    def diverging(self, state, batches):  # type: ignore[no-untyped-def]
        measured = step(self, state, batches)
        return measured if state.counters["images"] <= 32 else {"loss_d": torch.tensor(float("nan"))}

    gate = Gate(monkeypatch)
    threading.Timer(0.2, gate.opened.set).start()
    monkeypatch.setattr(Adversarial, "step", diverging)
    monkeypatch.setitem(CALL, "images", 512)
    with pytest.raises(DivergedError):
        trained(tmp_path / "run")
    assert int(checkpoint_folders(tmp_path / "run" / "checkpoints")[0].name) == 32


@pytest.mark.usefixtures("background")
def test_out_of_memory_goes_on_from_the_checkpoint_that_was_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening the run anew must not find it unfinished."""
    step, failed = Adversarial.step, []

    def failing(self, state, batches):  # type: ignore[no-untyped-def]
        if state.counters["images"] == 48 and not failed:
            failed.append(True)
            raise torch.OutOfMemoryError("out of memory")
        return step(self, state, batches)

    seen: list[int] = []
    read = opening.read_newest

    def reading(folder: Path):  # type: ignore[no-untyped-def]
        found = read(folder)
        seen.append(0 if found[0] is None else found[0].state.counters["images"])
        return found

    gate = Gate(monkeypatch)
    threading.Timer(0.2, gate.opened.set).start()
    monkeypatch.setattr(Adversarial, "step", failing)
    monkeypatch.setattr(opening, "read_newest", reading)
    trained(tmp_path / "run")
    assert seen == [0, 48]
