"""Connections between the processes of a run, apart from the devices' own.

Processes use them to meet, to combine values, and to report failures. A thread reads
each connection. When a peer fails or is killed, the thread ends this process, even if
the main thread is blocked in a collective. Nothing here uses JAX.
"""

import json
import os
import queue
import socket
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from gpt1_jax import errors, terminal
from gpt1_jax.distributed import rendezvous
from gpt1_jax.distributed.rendezvous import Connection, Place
from gpt1_jax.errors import RunFailed


def end_process(message: str, code: int) -> NoReturn:
    """Ends this process although its main thread may wait for the devices."""
    try:
        if code == errors.PREEMPTED:
            terminal.say(message)
        else:
            terminal.error(message)
        terminal.flush()
    finally:  # also if nobody reads standard error any more
        os._exit(code)


class Peers:
    """The other processes of this run, as one process sees them.

    The constructor returns once all have met.
    Args:   seconds: how long it waits for them.
            end: ends this process with a message and an exit code after another has
            failed; a thread calls it.
    Raises: UserError: not all came, two have the same number, or they were told of
            different numbers of processes. RunFailed, Preempted: the first one has
            ended, or was stopped, before all had met.
    """

    def __init__(
        self,
        place: Place,
        *,
        seconds: float,
        end: Callable[[str, int], None] = end_process,
    ):
        self.place, self._end = place, end
        self._ending = threading.Lock()
        self._is_ending = False
        self._connections = rendezvous.meet(place, seconds)
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
        if self.place.process_id:
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

    def _next(self, connection: Connection) -> dict[str, Any]:
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
            name = self.place.name_of(self.place.process_id, host)
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

    def _read(self, connection: Connection) -> None:
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
            if self.place.process_id == 0:
                self._tell(message, code)
            self._end(message, code)
