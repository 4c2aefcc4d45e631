"""Connections between the processes of a run, apart from the devices' own.

Each process holds one TCP connection to the first. Over these they meet, combine values
and learn of each other's end: a process that fails says so, and the connection of one
that is killed breaks. A thread notices either, also while the main thread waits for the
devices, and ends its own process. Nothing here uses JAX.
"""

import contextlib
import dataclasses
import json
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from gpt1_jax import errors, terminal
from gpt1_jax.errors import RunFailed, UserError

_GREETING_SECONDS = 5.0
_RETRY_SECONDS = 0.1
# A host that has lost its power or its network is noticed after 30 seconds: by probes of
# an idle connection (10 + 4 x 5 s), which the system sends only while no data waits for
# an acknowledgement, or by the limit for such data (in milliseconds).
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


def _end_process(message: str, code: int) -> NoReturn:
    """Ends this process although its main thread may wait for the devices."""
    try:
        if code == errors.PREEMPTED:
            terminal.say(message)
        else:
            terminal.error(message)
        terminal.flush()
    finally:  # also if nobody reads standard error any more
        os._exit(code)


class _Connection:
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

    def send(self, message: dict[str, Any]) -> None:
        """Sends a message. If the connection is broken, its reader says so."""
        line = json.dumps(message).encode() + b"\n"
        with self._sending, contextlib.suppress(OSError):
            self._link.sendall(line)

    def receive(self, seconds: float | None = None) -> dict[str, Any] | None:
        """Returns the next message; None: the connection has ended, or is no peer's."""
        self._link.settimeout(seconds)
        try:
            message = json.loads(self._file.readline())
        except (OSError, ValueError):
            return None
        return message if isinstance(message, dict) else None

    def close(self) -> None:
        """Closes the connection."""
        self._file.close()
        self._link.close()


class Peers:
    """The other processes of this run, as one process sees them.

    The constructor returns once all have met.
    Args:   seconds: how long it waits for them.
            end: ends this process with a message and an exit code after another has
            failed; a thread calls it.
    Raises: UserError: not all came, two have the same number, or they were told of
            different numbers of processes.
    """

    def __init__(
        self,
        place: Place,
        *,
        seconds: float,
        end: Callable[[str, int], None] = _end_process,
    ):
        self._place, self._end = place, end
        self._ending = threading.Lock()
        self._is_ending = False
        deadline = time.monotonic() + seconds
        meet = _meet_as_first if place.process_id == 0 else _meet_first
        self._connections = meet(place, deadline, seconds)
        for connection in self._connections:
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def combine(
        self, what: str, value: Any, function: Callable[[list[Any]], Any]
    ) -> Any:
        """Returns `function` of the values of all processes, in their order.

        All must make the same call, and wait here for each other. The first process
        calls the function. Values and result are what JSON can hold.
        Args: what: the purpose of the call, by which different calls are told apart.
        """
        # A tuple becomes a list, as in the values of the others.
        own = json.loads(json.dumps({"what": what, "value": value}))
        if self._place.process_id:
            self._connections[0].send(own)
            return self._next(self._connections[0])["value"]
        answers = [own, *map(self._next, self._connections)]
        for connection, answer in zip(self._connections, answers[1:], strict=True):
            if answer["what"] != what:
                raise RunFailed(
                    f"{connection.name} is at {answer['what']!r}, the first process at "
                    f"{what!r}; all must do the same; start all of them again"
                )
        result = function([answer["value"] for answer in answers])
        for connection in self._connections:
            connection.send({"value": result})
        return result

    def _next(self, connection: _Connection) -> dict[str, Any]:
        """Returns the next value from a process; signals are handled meanwhile."""
        while True:
            try:
                message = connection.inbox.get(timeout=1.0)
            except queue.Empty:
                continue
            if message is None:
                raise RunFailed(
                    f"{connection.name} came to its end before this one; all must do "
                    "the same; start all of them again"
                )
            return message

    def fail(self, message: str, code: int) -> None:
        """Tells all others that this process ends with `code`.

        If another has failed before, this waits for the end of the process.
        """
        if self._claim_end():
            host = socket.gethostname()
            name = self._place.name_of(self._place.process_id, host)
            self._tell(f"{name}: {message}", code)
        else:
            threading.Event().wait(10)

    def leave(self) -> None:
        """Tells all others that this process may end, until it combines again."""
        for connection in self._connections:
            connection.send({"left": True})

    def _claim_end(self) -> bool:
        """Returns True to the first caller, whose message is the one that counts."""
        with self._ending:
            is_first, self._is_ending = not self._is_ending, True
        return is_first

    def _tell(self, message: str, code: int) -> None:
        for connection in self._connections:
            connection.send({"failed": message, "code": code})

    def _read(self, connection: _Connection) -> None:
        """Reads the messages of a process to the end of the connection."""
        while (message := connection.receive()) is not None:
            if "failed" in message:
                self._follow(message["failed"], message["code"])
            elif "left" in message:
                connection.has_left = True
            else:
                connection.has_left = False  # it is in its next job
                connection.inbox.put(message)
        if connection.has_left:
            connection.inbox.put(None)
        else:
            self._follow(
                f"{connection.name} ended without a message, as if killed or out of "
                "memory; a run needs all of its processes; look at its output and its "
                "host's memory, then start all of them again",
                errors.FAILED,
            )

    def _follow(self, message: str, code: int) -> None:
        """Ends this process as another has ended; the first tells the rest."""
        if self._claim_end():
            if self._place.process_id == 0:
                self._tell(message, code)
            self._end(message, code)


def _meet_as_first(place: Place, deadline: float, seconds: float) -> list[_Connection]:
    """Waits for all others; returns their connections in the order of their numbers."""
    try:
        server = _listen(place.endpoint[1])
    except OSError:
        return _meet_first(place, deadline, seconds)  # whoever listens says what it is
    with server, _telling_failures() as met:
        while len(met) < place.num_processes - 1:
            server.settimeout(max(deadline - time.monotonic(), 1e-3))
            try:
                link, _ = server.accept()
            except TimeoutError:
                raise _some_missing(place, met, seconds) from None
            connection = _Connection(link)
            greeting = connection.receive(_GREETING_SECONDS)
            if greeting is None or "process_id" not in greeting:
                connection.close()  # for example a scan of ports
                continue
            number = greeting["process_id"]
            connection.name = place.name_of(number, greeting["host"])
            is_known = number in met
            met[-1 if is_known or number == 0 else number] = connection
            _check_greeting(place, greeting, is_known=is_known)
        connections = [met[number] for number in sorted(met)]
        for connection in connections:
            connection.send({"host": socket.gethostname()})
        return connections


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
    place: Place, met: dict[int, _Connection], seconds: float
) -> UserError:
    """Returns the error that names the processes that did not come."""
    missing = sorted(set(range(1, place.num_processes)) - set(met))
    shown = ", ".join(map(str, missing[:8])) + (", ..." if missing[8:] else "")
    return UserError(
        f"{len(met) + 1} of config.mesh.num_processes={place.num_processes} processes "
        f"came to {place.address} within {seconds:g} s; all must; start process "
        f"{shown} too, or raise config.mesh.start_seconds"
    )


def _meet_first(place: Place, deadline: float, seconds: float) -> list[_Connection]:
    """Connects to the first process; returns this connection once all have met."""
    while True:
        left = deadline - time.monotonic()
        try:
            link = socket.create_connection(place.endpoint, timeout=max(left, 1e-3))
            break
        except OSError as error:
            if left > _RETRY_SECONDS:
                time.sleep(_RETRY_SECONDS)
                continue
            raise UserError(
                f"config.mesh.coordinator_address={place.address}: no process 0 there "
                f"within {seconds:g} s ({error}); it must listen there; start it, "
                "correct the address, or raise config.mesh.start_seconds"
            ) from None
    connection = _Connection(link)
    greeting = {
        "process_id": place.process_id,
        "num_processes": place.num_processes,
        "host": socket.gethostname(),
    }
    connection.send(greeting)
    # The first process waits until its own deadline, and may have started later.
    answer = connection.receive(None if place.process_id else _GREETING_SECONDS)
    if answer is None or "host" not in answer:
        connection.close()
    if answer is None or not {"host", "failed"} & set(answer):
        raise UserError(
            f"config.mesh.coordinator_address={place.address}: another program, or "
            "another run, has this port; a free one is expected; name another port"
        )
    if "failed" in answer:
        raise UserError(answer["failed"])
    connection.name = place.name_of(0, answer["host"])
    return [connection]


@contextlib.contextmanager
def _telling_failures() -> Iterator[dict[int, _Connection]]:
    """Yields a dict for the connections of a block, which learn why it fails."""
    met: dict[int, _Connection] = {}
    try:
        yield met
    except BaseException as error:
        is_ours = isinstance(error, UserError)
        message = str(error) if is_ours else "process 0 was stopped; start all again"
        for connection in met.values():
            connection.send({"failed": message})
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
