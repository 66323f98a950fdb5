"""A command of `cgdet` that must be refused, as it is typed."""

from __future__ import annotations

import pytest

from cgdet_core.cli import main


def refusal(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line that `cgdet WORDS` writes to standard error; it must exit with 2 and write no other."""
    capsys.readouterr()  # of what ran before
    assert main([str(word) for word in words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("cgdet: error: ")
    assert said.count("\n") == 1, said
    return said.rstrip("\n")
