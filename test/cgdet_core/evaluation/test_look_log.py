"""Looks at test splits are logged in the checkout, a line each, and nothing else is."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from cgdet_core.errors import InputError
from cgdet_core.evaluation.look_log import append_line, append_look, commit_of, find_checkout, log_for
from cgdet_core.evaluation.selection import is_test_split

FACTS = {
    "model": "model.safetensors",
    "model_sha256": "ab" * 32,
    "map50": 0.5,
    "map": None,
    "images": 3,
    "device": "cpu",
    "precision": "fp32",
    "truths": 7,
}


def git(folder: Path, *words: str) -> str:
    person = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.invalid"]
    command = ["git", "-C", folder, *person, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    (folder / "docs").mkdir(parents=True)
    (folder / "package.xml").write_text("<package><name>cgdet_ros</name></package>\n")
    git(folder, "init", "-q")
    git(folder, "add", "package.xml")
    git(folder, "commit", "-q", "-m", "first")
    return folder


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("thermal_test.json", True),
        ("test.json", True),
        ("Test-2.json", True),
        ("msrs_test", True),
        ("latest.json", False),
        ("contest.json", False),
        ("thermal_train.json", False),
        ("testing.json", False),
    ],
)
def test_a_test_split_is_told_by_a_word_of_its_name(name: str, is_one: bool) -> None:
    assert is_test_split(Path("/data/test") / name) is is_one


def test_only_a_checkout_of_this_repository_is_one(checkout: Path, tmp_path: Path) -> None:
    assert find_checkout(checkout) == find_checkout(checkout / "docs") == checkout
    assert find_checkout(tmp_path) is None
    other = checkout / "other"
    (other / ".git").mkdir(parents=True)
    (other / "package.xml").write_text("<package><name>another</name></package>\n")
    assert find_checkout(other) == checkout
    (checkout / "package.xml").write_text("<package><name>another</name></package>\n")
    assert find_checkout(checkout) is None


def test_looks_are_logged_within_a_checkout_or_where_told(checkout: Path, tmp_path: Path) -> None:
    test, held_out = Path("msrs/thermal_test.json"), Path("msrs/thermal_train.json")
    assert log_for(test, None, checkout / "docs") == checkout / "docs" / "test_evaluations.jsonl"
    assert log_for(held_out, None, checkout) is None
    assert log_for(test, None, tmp_path) is None
    assert log_for(held_out, tmp_path / "mine.jsonl", checkout) == tmp_path / "mine.jsonl"
    with pytest.raises(InputError, match="is a folder"):
        log_for(test, tmp_path, checkout)


def test_a_line_says_when_what_and_how_well(checkout: Path, tmp_path: Path) -> None:
    log = checkout / "docs" / "test_evaluations.jsonl"
    for number in range(2):
        append_look(log, tmp_path / "msrs" / "thermal_test.json", FACTS, f"look {number}", checkout)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["how"] for line in lines] == ["look 0", "look 1"]
    look = lines[1]
    assert timedelta(0) <= datetime.now(timezone.utc) - datetime.fromisoformat(look["date"]) < timedelta(minutes=1)
    assert look["data"] == "msrs/thermal_test.json"
    assert look["commit"] == git(checkout, "rev-parse", "HEAD")
    for key in ("model", "model_sha256", "map50", "map", "images", "device", "precision"):
        assert look[key] == FACTS[key]
    assert "truths" not in look


def test_the_commit_is_dirty_by_changed_files_but_not_by_the_log_itself(checkout: Path, tmp_path: Path) -> None:
    log = checkout / "docs" / "test_evaluations.jsonl"
    append_line(log, "{}")
    git(checkout, "add", "docs")
    git(checkout, "commit", "-q", "-m", "a log")
    head = git(checkout, "rev-parse", "HEAD")
    append_line(log, "{}")
    assert commit_of(checkout / "docs") == head
    with (checkout / "package.xml").open("a") as handle:
        handle.write("<!-- changed -->\n")
    assert commit_of(checkout) == f"{head}-dirty"
    assert commit_of(tmp_path) is None


def test_a_line_left_open_is_closed_first_and_lines_of_many_writers_stay_whole(tmp_path: Path) -> None:
    log = tmp_path / "new" / "log.jsonl"
    append_line(log, '{"first": 1}')
    log.write_text(log.read_text().rstrip("\n"))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: append_line(log, json.dumps({"n": number, "fill": "x" * 3000})), range(60)))
    first, *others = [json.loads(line) for line in log.read_text().splitlines()]
    assert first == {"first": 1}
    assert sorted(line["n"] for line in others) == list(range(60))


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(InputError, match=r"file/log\.jsonl"):
        append_line(tmp_path / "file" / "log.jsonl", "{}")
    with pytest.raises(InputError, match="choose another place"):
        log_for(Path("a_test.json"), tmp_path / "file" / "log.jsonl", tmp_path)
    assert (tmp_path / "file").read_text() == "kept"


def test_the_repositorys_own_log_holds_whole_lines_with_the_agreed_keys(repository: Path) -> None:
    lines = (repository / "docs" / "test_evaluations.jsonl").read_text().splitlines()
    keys = ["date", "commit", "model", "model_sha256", "data", "map50", "map", "images", "device", "precision", "how"]
    assert len(lines) >= 3
    for line in lines:
        look = json.loads(line)
        assert list(look) == keys
        assert look["map50"] is None or 0 <= look["map50"] <= 1
