"""Processes of a run meet, combine values and end together; here most are threads."""

import concurrent.futures
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from gpt1_jax.distributed import peers, rendezvous
from gpt1_jax.errors import Preempted, RunFailed, UserError

# The connections of a thread that plays a process are not closed at its end.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)


def free_address() -> str:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return f"localhost:{free.getsockname()[1]}"


class Ends:
    """Records how each process ended after another had failed."""

    def __init__(self):
        self.found, self.condition = {}, threading.Condition()

    def of(self, number):
        def end(message, code):
            with self.condition:
                self.found[number] = message, code
                self.condition.notify_all()

        return end

    def wait(self, count):
        with self.condition:
            assert self.condition.wait_for(lambda: len(self.found) == count, 20)
        return self.found


def meet(places, seconds=20, ends=None):
    """Returns the Peers, or the error, of each place."""
    ends = ends or Ends()

    def one(place):
        try:
            return peers.Peers(place, seconds=seconds, end=ends.of(place.process_id))
        except UserError as error:
            return str(error)

    with concurrent.futures.ThreadPoolExecutor(len(places)) as pool:
        return list(pool.map(one, places))


def places(count):
    address = free_address()
    return [rendezvous.Place(address, count, number) for number in range(count)]


def together(processes, call):
    with concurrent.futures.ThreadPoolExecutor(len(processes)) as pool:
        return [f.result() for f in [pool.submit(call, n, p) for n, p in processes]]


def test_values_are_combined_in_the_order_of_the_processes():
    three = meet(places(3))
    results = together(
        list(enumerate(three)), lambda n, p: p.combine("x", (n, "v"), list)
    )
    assert results == [[[0, "v"], [1, "v"], [2, "v"]]] * 3


def test_other_calls_are_told_apart():
    first, second = meet(places(2))
    second._connections[0].send({"what": "b", "value": 1})
    with pytest.raises(RunFailed, match=r"process 1 of 2 on .* is at 'b', .* at 'a'"):
        first.combine("a", 1, sum)


def test_a_failure_ends_all_others_with_its_message_and_code():
    ends = Ends()
    three = meet(places(3), ends=ends)
    three[1].fail("no corpus", 2)
    found = ends.wait(2)
    assert set(found) == {0, 2}
    for message, code in found.values():
        assert message.startswith("process 1 of 3 on ")
        assert message.endswith(": no corpus")
        assert code == 2


def test_a_process_that_left_is_no_failure_but_is_not_waited_for():
    ends = Ends()
    first, second = meet(places(2), ends=ends)
    second.leave()
    second._connections[0]._link.shutdown(socket.SHUT_RDWR)
    with pytest.raises(RunFailed, match="came to its end before this one"):
        first.combine("x", 1, sum)
    assert 0 not in ends.found


ALONE = """
import sys, time
from gpt1_jax.distributed import peers, rendezvous
peers.Peers(rendezvous.Place(sys.argv[1], 2, int(sys.argv[2])), seconds=20)
print("met", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_other_at_once_with_one_line(killed):
    address = free_address()
    pair = [
        subprocess.Popen(
            [sys.executable, "-c", ALONE, address, str(number)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in (0, 1)
    ]
    assert [process.stdout.readline() for process in pair] == ["met\n"] * 2
    pair[killed].send_signal(signal.SIGKILL)
    out, errors = pair[1 - killed].communicate(timeout=20)
    pair[killed].communicate()
    assert pair[1 - killed].returncode == 1
    assert not out
    assert errors.count("\n") == 1
    assert f"error: process {killed} of 2 on " in errors
    assert "ended without a message, as if killed or out of memory" in errors


CLOSED = """
import os, sys
from gpt1_jax.distributed import peers, rendezvous
read, write = os.pipe()
os.close(read)
os.dup2(write, 2)
sys.stdout = sys.stderr
peers.end_process("gone", int(sys.argv[1]))
"""


@pytest.mark.parametrize("code", [3, 75])
def test_a_process_ends_although_nobody_reads_its_message(code):
    command = [sys.executable, "-c", CLOSED, str(code)]
    assert subprocess.run(command, check=False, timeout=20).returncode == code


def test_a_process_that_never_comes_is_named():
    place = places(3)
    first, second = meet([place[0], place[2]], seconds=1)
    assert first == second
    assert first.startswith("2 of config.mesh.num_processes=3 processes came to local")
    assert "within 1 s; all must; start process 1 too" in first


def test_a_first_process_that_never_comes_is_named():
    (error,) = meet(places(2)[1:], seconds=1)
    assert "no process 0 there within 1 s" in error


def test_processes_that_were_told_other_counts_all_say_so():
    first, second = places(2)
    errors = meet([first, rendezvous.Place(second.address, 3, 1)])
    assert errors[0] == errors[1]
    assert "config.mesh.num_processes=2 on process 0, but 3 on process 1 (" in errors[0]


@pytest.mark.parametrize("twice", [0, 1])
def test_two_processes_of_one_number_all_say_so(twice):
    three = places(3)
    errors = meet([three[0], three[twice], *([three[1]] if twice else [])])
    assert any("config.mesh.process_id=" in str(error) for error in errors)
    assert all(
        f"process_id={twice} on two processes" in str(error) for error in errors
    ), errors


def test_a_port_of_another_program_is_refused():
    with socket.create_server(("localhost", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"

        def answer():
            link, _ = server.accept()
            link.sendall(b"HTTP/1.1 400\r\n")
            link.close()

        threading.Thread(target=answer, daemon=True).start()
        (error,) = meet([rendezvous.Place(address, 2, 1)], seconds=5)
    assert "another program, or another run, has this port" in error


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ("", RunFailed, "process 0 at localhost:.* ended before all had met"),
        ('{"failed": "no", "code": 2}\n', UserError, "^no$"),
        ('{"failed": "gone", "code": 1}\n', RunFailed, "^gone$"),
        ('{"failed": "stopped", "code": 75}\n', Preempted, "^stopped$"),
    ],
    ids=["end", "mistake", "failure", "stop"],
)
def test_the_end_of_the_first_process_is_told_as_it_was(answer, error, message):
    with socket.create_server(("localhost", 0)) as server:
        place = rendezvous.Place(f"localhost:{server.getsockname()[1]}", 2, 1)

        def end():
            link, _ = server.accept()
            link.recv(1000)
            link.sendall(answer.encode())
            link.close()

        threading.Thread(target=end, daemon=True).start()
        with pytest.raises(error, match=message):
            peers.Peers(place, seconds=5)


def test_a_first_process_that_never_answers_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(rendezvous, "_GREETING_SECONDS", 0.2)
    with socket.create_server(("localhost", 0)) as server:
        (error,) = meet(
            [rendezvous.Place(f"localhost:{server.getsockname()[1]}", 2, 1)],
            seconds=0.3,
        )
    assert "another program, or another run, has this port" in error


def test_an_interrupted_first_process_stops_the_others_too(monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(rendezvous, "_check_greeting", interrupt)
    first, second = places(2)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        ends = [pool.submit(peers.Peers, p, seconds=5) for p in (first, second)]
    assert isinstance(ends[0].exception(), KeyboardInterrupt)
    assert isinstance(ends[1].exception(), Preempted)


def test_a_process_that_is_started_again_while_others_gather_is_welcome():
    three = places(3)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        first = pool.submit(peers.Peers, three[0], seconds=20)
        link = rendezvous._link_to_first(three[1], time.monotonic() + 20, 20)
        dead = rendezvous.Connection(link)
        dead.send({"process_id": 1, "num_processes": 3, "host": "here"})
        dead.close()
        others = [pool.submit(peers.Peers, p, seconds=20) for p in three[1:]]
        met = [future.result() for future in (first, *others)]
    assert (
        together(list(enumerate(met)), lambda n, p: p.combine("x", n, sum)) == [3] * 3
    )


def test_a_port_that_may_not_be_used_is_named(monkeypatch):
    def refuse(port):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(rendezvous, "_listen", refuse)
    message = r"address=localhost:80: process 0 cannot listen there \(.*denied.*another"
    with pytest.raises(UserError, match=message):
        peers.Peers(rendezvous.Place("localhost:80", 2, 0), seconds=20)


def test_a_connection_to_itself_is_no_first_process(monkeypatch):
    def connect(endpoint, timeout):
        link = socket.socket()
        link.bind(("127.0.0.1", 0))
        link.connect(link.getsockname())
        return link

    monkeypatch.setattr(rendezvous.socket, "create_connection", connect)
    (error,) = meet(places(2)[1:], seconds=0.3)
    assert "no process 0 there within 0.3 s" in error


@pytest.mark.skipif(
    not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system has no such limit"
)
def test_unacknowledged_data_has_a_limit():
    first, _ = meet(places(2))
    link = first._connections[0]._link
    assert link.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


def test_a_scan_of_ports_does_not_disturb():
    pair = places(2)

    def scan():
        for _ in range(50):
            try:
                with socket.create_connection(pair[0].endpoint) as link:
                    link.sendall(b"GET / HTTP/1.1\r\n")
                return
            except OSError:
                threading.Event().wait(0.05)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(meet, pair[:1])
        pool.submit(scan).result()
        second = pool.submit(meet, pair[1:])
        both = [*first.result(), *second.result()]
    results = together(list(enumerate(both)), lambda n, p: p.combine("x", n, sum))
    assert results == [1, 1]


@pytest.mark.parametrize("address", ["localhost", ":12", "localhost:0", "host:port"])
def test_an_address_without_host_or_port_is_refused(address):
    with pytest.raises(UserError, match="HOST:PORT of the first process is expected"):
        peers.Peers(rendezvous.Place(address, 2, 1), seconds=1)


ABORT = """
import ctypes, os, sys, threading, time
from gpt1_jax.distributed import native_errors, peers
native_errors.subdue(peers.end_process)
lines = ["kept\\n", "E1128 10:38:33.2 7464 coordination_service.cc:1549] gone\\n",
         "gone too\\n", "W1128 10:38:33.2 7464 other.cc:1] kept too\\n"]
os.write(2, "".join(lines).encode())
threading.Thread(target=ctypes.CDLL(None).abort, daemon=True).start()
time.sleep(1)
print("said", file=sys.stderr)
os._exit(3)
"""


FATAL = """
import ctypes, os
from gpt1_jax.distributed import native_errors, peers
native_errors._NEWS_SECONDS = 0.5
native_errors.subdue(peers.end_process)
os.write(2, b"F1128 10:38:33.2 7464 client.h:80] a task died\\n")
ctypes.CDLL(None).abort()
"""


def test_an_abort_that_no_message_explains_says_what_the_runtime_logged():
    done = subprocess.run(
        [sys.executable, "-c", FATAL], stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: JAX's distributed runtime ended: a task died; ")


SILENT = """
import sys
from gpt1_jax.distributed import native_errors, peers
sys.stderr = None
native_errors.subdue(peers.end_process)
"""


def test_a_process_without_standard_error_needs_no_filter():
    done = subprocess.run([sys.executable, "-c", SILENT], check=False)
    assert done.returncode == 0


def test_an_abort_leaves_time_for_our_message_and_the_runtime_is_silent():
    done = subprocess.run(
        [sys.executable, "-c", ABORT], stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 3
    assert done.stderr.splitlines() == [
        "kept",
        "W1128 10:38:33.2 7464 other.cc:1] kept too",
        "said",
    ]
