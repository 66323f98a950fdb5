"""The node as a process of its own: started apart from other ROS systems, watched, stopped."""

from __future__ import annotations

import ctypes
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence

from cgdet_core.errors import InputError, RunError

_KEPT_LINES = 1000
_STOP_TIMEOUT_S = 20.0
# up to here the ports of a domain lie below those that Linux hands out to others
_LAST_DOMAIN = 101
_GREATEST_DOMAIN = 232  # its ports are the last below 65536
_KEPT_TROUBLES = 5
_LOG_PREFIX = re.compile(r"^\[(?P<level>[A-Z]+)\] \[[^]]*\] \[[^]]*\]: (?P<text>.*)$")


def isolate() -> int:
    """Keep this process and its children on this machine, in a DDS domain that nobody uses; its number.

    Does nothing to what the user has set. To be called before rclpy.init. Raises InputError for a domain that is none.
    """
    if "ROS_LOCALHOST_ONLY" not in os.environ and "ROS_AUTOMATIC_DISCOVERY_RANGE" not in os.environ:
        if os.environ.get("ROS_DISTRO") == "humble":
            os.environ["ROS_LOCALHOST_ONLY"] = "1"
        else:
            os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    given = os.environ.get("ROS_DOMAIN_ID", "").strip()
    if not given:  # an empty one counts as none, for ROS too
        os.environ["ROS_DOMAIN_ID"] = given = str(_free_domain())
    if not (given.isascii() and given.isdigit() and int(given) <= _GREATEST_DOMAIN):
        raise InputError(f"ROS_DOMAIN_ID '{given}' is no number in 0 to {_GREATEST_DOMAIN}: correct it or unset it")
    return int(given)


def _free_domain() -> int:
    domains = random.SystemRandom().sample(range(1, _LAST_DOMAIN + 1), _LAST_DOMAIN)
    for domain in domains:
        # DDSI-RTPS 9.6.1.1: the port on which a domain's first participant is found
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", 7400 + 250 * domain + 10))
            except OSError:
                continue
        return domain
    return domains[0]


DETECTOR = (sys.executable, "-m", "cgdet_ros.node.detector_node")
LANDMARKS = (sys.executable, "-m", "cgdet_ros.node.landmarks_node")
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None)


def _end_with_parent() -> None:
    """In the child, before it becomes the node: a replay that is killed outright takes its node along. To be started in
    the main thread: the signal comes at the end of the thread that started the child."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell has what runs in its background ignore it
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT))


class NodeEnded(RunError):
    """The node is no more, though nobody asked it to end."""


class NodeProcess:
    """A node started by `command`; a context manager that stops it. What it prints is kept, and shown where `echo`."""

    def __init__(self, command: Sequence[str], ros_arguments: Sequence[str], echo: bool) -> None:
        self._echo = echo
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "RCUTILS_COLORIZED_OUTPUT": "0"}
        try:
            self._process = subprocess.Popen(
                [*command, "--ros-args", *ros_arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                # a Ctrl-C in the terminal is for the replay, which then stops the node in order
                start_new_session=True,
                preexec_fn=_end_with_parent,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise InputError(f"{command[0]}: cannot be started ({error.strerror})") from None
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line.rstrip())
            if self._echo:
                print(f"node: {line.rstrip()}", file=sys.stderr)

    def check(self) -> None:
        """Raise NodeEnded, with the last of what the node said, where it has ended."""
        code = self._process.poll()
        if code is not None:
            self._reader.join(timeout=1)
            raise NodeEnded(f"the node ended by itself (exit code {code}): {self.last_words()}")

    def _logged(self, *levels: str) -> list[re.Match[str]]:
        matches = [_LOG_PREFIX.match(line) for line in list(self._lines)]
        return [match for match in matches if match and match["level"] in levels]

    def troubles(self) -> tuple[str, ...]:
        """The last warnings and errors in the node's log, the level before each."""
        logged = self._logged("WARN", "ERROR", "FATAL")[-_KEPT_TROUBLES:]
        return tuple(f"{match['level']}: {match['text']}" for match in logged)

    def last_words(self) -> str:
        """The reason in the node's last error, else its last line."""
        if errors := self._logged("ERROR", "FATAL"):
            return errors[-1]["text"]
        lines = [line for line in list(self._lines) if line.strip()]
        return lines[-1].strip() if lines else "it said nothing"

    def stop(self) -> int:
        """Ask it to end, wait, and end it; the exit code, negative for a signal."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(timeout=1)
        return int(self._process.returncode)
