"""The meeting of the processes of a run, at an address where the first one listens.

Each process then holds one TCP connection to the first. Nothing here uses JAX.
"""

import contextlib
import dataclasses
import errno
import json
import queue
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from gpt1_jax import errors
from gpt1_jax.errors import Preempted, RunFailed, UserError

_GREETING_SECONDS = 5.0
_RETRY_SECONDS = 0.1
# The errors of a process that ends as the first one did, by its exit code.
_ERRORS = {errors.MISTAKE: UserError, errors.PREEMPTED: Preempted}
# A host that has lost its power or its network is noticed after 30 seconds. While the
# connection is idle, probes find out (10 + 4 x 5 s). The system sends none while data
# waits for an acknowledgement, for which there is a limit of its own (in milliseconds).
_LIMITS = {
    "TCP_KEEPIDLE": 10,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 4,
    "TCP_USER_TIMEOUT": 30_000,
}


@dataclasses.dataclass(frozen=True)
class Place:
    """The place of a process in its run.

    address: HOST:PORT, where the first process listens until all have met.
    """

    address: str
    num_processes: int
    process_id: int

    @property
    def endpoint(self) -> tuple[str, int]:
        """The host and the port of `address`.

        Raises: UserError: it is not HOST:PORT.
        """
        host, _, port = self.address.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
            raise UserError(
                f"config.mesh.coordinator_address={self.address}; HOST:PORT of the "
                "first process is expected; write it as in localhost:1234"
            )
        return host.strip("[]"), int(port)

    def name_of(self, process_id: int, host: str) -> str:
        """Returns how messages call another process."""
        return f"process {process_id} of {self.num_processes} on {host}"


class Connection:
    """A connection to one process. It carries JSON objects, one a line."""

    def __init__(self, link: socket.socket):
        link.settimeout(None)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _LIMITS.items():
            if hasattr(socket, name):  # not all systems have all of them
                link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._link, self._file = link, link.makefile("rb")
        self._sending = threading.Lock()
        self.name = ""
        self.inbox: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.has_left = False
        self.has_ended = False  # whether the last receive() found no more data

    def send(self, message: dict[str, Any]) -> None:
        """Sends a message. If the connection is broken, its reader says so."""
        line = json.dumps(message).encode() + b"\n"
        with self._sending, contextlib.suppress(OSError):
            self._link.sendall(line)

    def receive(self, seconds: float | None = None) -> dict[str, Any] | None:
        """Returns the next message; None: the connection has ended, or is no peer's."""
        self._link.settimeout(seconds)
        try:
            line = self._file.readline()
            self.has_ended = not line
            message = json.loads(line)
        except (OSError, ValueError) as error:
            self.has_ended |= isinstance(error, ConnectionError)
            return None
        return message if isinstance(message, dict) else None

    def is_broken(self) -> bool:
        """Returns whether the other end is gone; it reads nothing."""
        self._link.settimeout(None)
        try:
            return not self._link.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False  # there is nothing to read yet
        except OSError:
            return True

    def close(self) -> None:
        """Closes the connection."""
        self._file.close()
        self._link.close()


def meet(place: Place, seconds: float) -> list[Connection]:
    """Returns the connections of a process once all of its run have met.

    They are those to all others, in the order of their numbers, or the one to the
    first. Raises: UserError, RunFailed, Preempted: as peers.Peers.
    """
    deadline = time.monotonic() + seconds
    if place.process_id:
        return [_connect_to_first(place, deadline, seconds)]
    try:
        server = _listen(place.endpoint[1])
    except OSError as error:
        if error.errno == errno.EADDRINUSE:  # whoever listens there says what it is
            return [_connect_to_first(place, deadline, seconds)]
        raise UserError(
            f"config.mesh.coordinator_address={place.address}: process 0 cannot listen "
            f"there ({error}); a port that it may use is expected; name another port"
        ) from None
    with server, _telling_failures() as met:
        _accept_others(server, place, deadline, met, seconds)
        connections = [met[number] for number in sorted(met)]
        for connection in connections:
            connection.send({"host": socket.gethostname()})
        return connections


def _accept_others(
    server: socket.socket,
    place: Place,
    deadline: float,
    met: dict[int, Connection],
    seconds: float,
) -> None:
    """Adds to `met` a connection to each other process."""
    while len(met) < place.num_processes - 1:
        server.settimeout(max(deadline - time.monotonic(), 1e-3))
        try:
            link, _ = server.accept()
        except TimeoutError:
            raise _some_missing(place, met, seconds) from None
        connection = Connection(link)
        greeting = connection.receive(_GREETING_SECONDS)
        if greeting is None or "process_id" not in greeting:
            connection.close()  # for example a scan of ports
            continue
        number = greeting["process_id"]
        connection.name = place.name_of(number, greeting["host"])
        if number in met and met[number].is_broken():  # it was started again
            met.pop(number).close()
        is_known = number in met
        met[-1 if is_known or number == 0 else number] = connection
        _check_greeting(place, greeting, is_known=is_known)


def _check_greeting(place: Place, greeting: dict[str, Any], *, is_known: bool) -> None:
    """Raises UserError if another process cannot be in this run."""
    number, count, host = (greeting[n] for n in ("process_id", "num_processes", "host"))
    if count != place.num_processes:
        raise UserError(
            f"config.mesh.num_processes={place.num_processes} on process 0, but "
            f"{count} on process {number} ({host}); all processes need the same; "
            "correct it and start all of them again"
        )
    if number == 0 or is_known:
        raise UserError(
            f"config.mesh.process_id={number} on two processes, one of them on {host}; "
            f"each needs its own, from 0 to {count - 1}; correct it and start all of "
            "them again"
        )


def _some_missing(
    place: Place, met: dict[int, Connection], seconds: float
) -> UserError:
    """Returns the error that names the processes that did not come."""
    missing = sorted(set(range(1, place.num_processes)) - set(met))
    shown = ", ".join(map(str, missing[:8])) + (", ..." if missing[8:] else "")
    return UserError(
        f"{len(met) + 1} of config.mesh.num_processes={place.num_processes} processes "
        f"came to {place.address} within {seconds:g} s; all must; start process "
        f"{shown} too, or raise config.mesh.start_seconds"
    )


def _connect_to_first(place: Place, deadline: float, seconds: float) -> Connection:
    """Returns a connection to the first process once all have met."""
    connection = Connection(_link_to_first(place, deadline, seconds))
    greeting = {
        "process_id": place.process_id,
        "num_processes": place.num_processes,
        "host": socket.gethostname(),
    }
    connection.send(greeting)
    # The first process waits as long for the others, and may have started later.
    waits = seconds if place.process_id else 0
    answer = connection.receive(waits + _GREETING_SECONDS) or {}
    if "host" in answer:
        connection.name = place.name_of(0, answer["host"])
        return connection
    connection.close()
    if "failed" in answer:
        raise _ERRORS.get(answer["code"], RunFailed)(answer["failed"])
    if connection.has_ended and place.process_id:
        raise RunFailed(
            f"process 0 at {place.address} ended before all had met; all processes are "
            "needed; look at its output, then start all of them again"
        )
    raise UserError(
        f"config.mesh.coordinator_address={place.address}: another program, or "
        "another run, has this port; a free one is expected; name another port"
    )


def _link_to_first(place: Place, deadline: float, seconds: float) -> socket.socket:
    """Returns a socket that is connected to the address of the first process."""
    while True:
        left = deadline - time.monotonic()
        try:
            link = socket.create_connection(place.endpoint, timeout=max(left, 1e-3))
            # Nobody listens, but the system chose this very port for our end.
            if link.getsockname() == link.getpeername():
                link.close()
                raise ConnectionRefusedError(errno.ECONNREFUSED, "connection refused")
            return link
        except OSError as error:
            if left > _RETRY_SECONDS:
                time.sleep(_RETRY_SECONDS)
                continue
            raise UserError(
                f"config.mesh.coordinator_address={place.address}: no process 0 there "
                f"within {seconds:g} s ({error}); it must listen there; start it, "
                "correct the address, or raise config.mesh.start_seconds"
            ) from None


@contextlib.contextmanager
def _telling_failures() -> Iterator[dict[int, Connection]]:
    """Yields a dict for the connections of a block, which learn why it fails."""
    met: dict[int, Connection] = {}
    try:
        yield met
    except BaseException as error:
        is_ours = isinstance(error, UserError)
        message = str(error) if is_ours else "process 0 was stopped; start all again"
        for connection in met.values():
            connection.send({"failed": message, "code": errors.exit_code(error)})
            connection.close()
        raise


def _listen(port: int) -> socket.socket:
    """Returns a socket that listens at `port` of all interfaces.

    Raises: OSError: another socket does.
    """
    if socket.has_dualstack_ipv6():
        return socket.create_server(
            ("", port), family=socket.AF_INET6, dualstack_ipv6=True
        )
    return socket.create_server(("", port))
