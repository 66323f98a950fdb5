"""The errors that a user is meant to read: one line each, without a traceback."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

_MOST_LISTED = 12


class CgdetError(Exception):
    """One line that says what went wrong and what to do about it. Raise one of the two below."""


class InputError(CgdetError):
    """Bad input: the line names file, topic or key. A command exits with 2; the node refuses frame or transition."""


class RunError(CgdetError):
    """Work that was begun on good input and could not be ended: a loss that is not finite, a process that was lost, a
    node that ended. A command exits with code 1."""


def check_known(where: str, kind: str, names: Iterable[str], choices: Collection[str], remedy: str = "") -> None:
    """Raise `unknown` for the first of `names` that is none of `choices`."""
    for name in names:
        if name not in choices:
            raise unknown(where, kind, name, choices, remedy)


def unknown(where: str, kind: str, name: str, choices: Iterable[str], remedy: str = "") -> InputError:
    """The error for a name that the user gave and nothing has: the one that was perhaps meant, and those there are.

    where: file, topic or key that it stands in, or nothing; kind: of what it is to be the name; choices: a mapping
    gives each a word in brackets; remedy: what to do where none of them is wanted.
    """
    names = list(choices)
    listed = [f"{each} ({choices[each]})" if isinstance(choices, Mapping) else each for each in names[:_MOST_LISTED]]
    near = _nearest(name, names)
    question = f"did you mean '{near}'? " if near else ""
    return InputError(
        f"{where}{': ' if where else ''}unknown {kind} '{name:.80}': {question}"
        f"there {'is' if len(names) == 1 else 'are'} {', '.join(listed) or 'none'}"
        f"{', ...' if len(names) > _MOST_LISTED else ''}{': ' if remedy else ''}{remedy}"
    )


def _nearest(name: str, choices: Iterable[str]) -> str | None:
    """The same but for case, else the only one that begins so, else the most similar with the same digits."""
    folded, word = {each.casefold(): each for each in choices}, name.casefold()
    begun = [each for each in folded if word and each.startswith(word)]
    alike = [each for each in folded if re.sub(r"\D", "", each) == re.sub(r"\D", "", word)]
    near = [word] if word in folded else begun if len(begun) == 1 else get_close_matches(word, alike, 1)
    return folded[near[0]] if near else None


class Terminated(KeyboardInterrupt):
    """SIGTERM, as `systemctl stop` and `docker stop` send it, or SIGHUP of a closed terminal, its number: what a Ctrl-C
    cleans up is cleaned up."""


def run_command(program: str, work: Callable[[], int]) -> int:
    """The exit code of a command: that of `work`, 2 for bad input, 1 for work that failed, 129, 130 and 143 where a
    signal ended it; errors are one line each."""
    in_main_thread = threading.current_thread() is threading.main_thread()  # which alone gets signals
    before = {number: signal.signal(number, _terminate) for number in _to_heed() if in_main_thread}
    plain_warnings()
    try:
        return work()
    except CgdetError as error:
        print(f"{program}: error: {error}", file=sys.stderr, flush=True)
        return 2 if isinstance(error, InputError) else 1
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "torchvision"):
            raise
        print(f"{program}: error: this needs PyTorch: pip install -r requirements/train.txt", file=sys.stderr)
        return 2
    except KeyboardInterrupt as signalled:
        print(f"{program}: interrupted", file=sys.stderr)
        return 128 + int(signalled.args[0] if isinstance(signalled, Terminated) else signal.SIGINT)
    except BrokenPipeError:
        # the reader of a pipe went away, such as `head`; keep the interpreter from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def plain_warnings() -> None:
    """Warnings are one line each, as errors are: a damaged bag's, for one."""
    warnings.formatwarning = lambda message, *_, **__: f"cgdet: warning: {message}\n"


class StopRequest(threading.Event):
    """Set by the first SIGINT, SIGTERM or SIGHUP from `watch` to the end of a `with` block; the next one does what it
    did before. In the main thread. number: of the signal, 0 until there is one; said: by then, on standard error."""

    def __init__(self, said: str = "") -> None:
        super().__init__()
        self.number, self._said = 0, said.encode()
        self._before: dict[int, Any] = {}

    def watch(self) -> StopRequest:
        """Begin."""
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, *_to_heed())}
        return self

    def __enter__(self) -> StopRequest:
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: Any) -> None:
        self.__exit__()
        self.number = number
        self.set()
        os.write(2, self._said)  # not by print, which the signal may have come in the middle of


def _terminate(number: int, _: Any) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one would interrupt the cleaning up
    raise Terminated(number)


def _to_heed() -> list[signal.Signals]:
    """Those that ask to end; SIGHUP, which `nohup` has ignored, stays so."""
    return [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) != signal.SIG_IGN]
