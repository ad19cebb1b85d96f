"""What runs in the sandbox is stopped at its limits, and reaches neither the network nor our files."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slmkit.course.sandbox import Ended, Limits, run

SHORT = Limits(seconds=1, megabytes=256)


def attempt(action):
    """Work that says what `action` gave, or the error that it met."""

    def work():
        try:
            return f"done: {action()}"
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    return work


def test_the_result_comes_back():
    assert run(lambda: "four", SHORT) == "four"


def forged():
    Path("report").write_text("\n")
    Path("..", "report").write_text("\n")
    os._exit(0)


def endless():
    while True:
        pass


def deaf():
    import signal

    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    endless()


@pytest.mark.parametrize(
    ("work", "told"),
    [
        (endless, "1 s of processor time"),
        (deaf, "1 s of processor time"),
        (lambda: time.sleep(60), "no result after 10 s"),
        (lambda: os._exit(0), "without a result"),
        (forged, "without a result"),
        (lambda: [].missing, "without a result"),
        (lambda: "x" * 5_000_000, "without a result"),  # longer than a report may be
    ],
)
def test_what_comes_to_no_result_ends(work, told):
    started = time.monotonic()
    with pytest.raises(Ended, match=told):
        run(work, SHORT)
    assert time.monotonic() - started < 40


def test_memory_is_limited_beyond_what_is_held_already():
    held = bytearray(300 * 2**20)
    assert run(attempt(lambda: len(bytearray(100 * 2**20))), SHORT) == f"done: {100 * 2**20}"
    assert run(attempt(lambda: len(bytearray(400 * 2**20))), SHORT).startswith("MemoryError")
    assert held is not None


def test_a_limit_on_memory_that_was_set_before_stays():
    asked = (
        "from slmkit.course.sandbox import Limits, run; print(run(lambda: 'four', Limits(seconds=1, megabytes=10**6)))"
    )
    command = ["sh", "-c", 'ulimit -v 4194304; exec "$@"', "sh", sys.executable, "-c", asked]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "four\n"


def test_what_is_printed_goes_nowhere(monkeypatch):
    class OfANotebook:
        def write(self, text):
            raise RuntimeError("this needs a thread that a fork does not have")

    monkeypatch.setattr(sys, "stdout", OfANotebook())
    assert run(attempt(lambda: print("heard")), SHORT) == "done: None"


def test_no_network():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = server.getsockname()
        with socket.create_connection(address):  # it can be reached from here
            pass
        said = run(attempt(lambda: socket.create_connection(address, timeout=1)), SHORT)
    assert "socket" in said
    assert "not allowed" in said


def test_the_kernel_has_taken_the_network_away_where_it_can():
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode:
        pytest.skip("the kernel grants no network namespace here")
    listed = run(lambda: Path("/proc/net/dev").read_text(), SHORT).splitlines()[2:]
    assert [line.split(":")[0].strip() for line in listed] == ["lo"]


def test_no_other_process_and_no_file_of_ours(tmp_path):
    kept, hidden = tmp_path / "kept", tmp_path / "hidden"
    kept.write_text("as it was")
    hidden.mkdir()
    (hidden / "solution").write_text("secret")

    def said(action):
        return run(attempt(action), SHORT, hidden=hidden)

    assert said(lambda: Path("note").write_text("in its own folder")) == "done: 17"
    assert "not allowed" in said(lambda: subprocess.run(["true"], check=True))
    assert "not allowed" in said(os.fork)
    assert "not allowed" in said(lambda: os.kill(os.getppid(), 15))
    assert "not allowed" in said(kept.unlink)
    assert "own folder alone" in said(lambda: kept.write_text("changed"))
    assert "is not there" in said((hidden / "solution").read_text)
    assert said(kept.read_text) == "done: as it was"
    assert kept.read_text() == "as it was"
