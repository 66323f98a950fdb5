"""The import contracts of pyproject.toml, held and shown to hold something."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
LINT = Path(sys.executable).parent / "lint-imports"


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    if not LINT.is_file():
        pytest.skip("import-linter is not installed")
    words = [str(LINT), "--no-logo", "--no-cache"]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)


def test_the_import_contracts_hold(repository: Path) -> None:
    answer = _lint(repository)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("cgdet_core/thermal.py", "import rclpy", "cgdet_core imports no ROS"),
        (
            "cgdet_core/runtime/predictor.py",
            "import cgdet_core.data.sets.coco",
            "What drives imports nothing of training",
        ),
        ("cgdet_core/data/sets/coco.py", "import cgdet_core.evaluation.compare", "Data flows one way"),
        ("cgdet_ros/node/parameters.py", "from sensor_msgs.msg import Image", "A message type is seen only"),
    ],
)
def test_an_import_against_a_contract_is_found(
    repository: Path, tmp_path: Path, file: str, line: str, contract: str
) -> None:
    for name in ("cgdet_core", "cgdet_ros"):
        shutil.copytree(repository / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(repository / "pyproject.toml", tmp_path)
    with (tmp_path / file).open("a", encoding="utf-8") as module:
        module.write(f"\n{line}\n")
    answer = _lint(tmp_path)
    assert answer.returncode == 1
    broken = [text for text in answer.stdout.splitlines() if "BROKEN" in text]
    assert any(text.startswith(contract) for text in broken), answer.stdout


PROGRAMS = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for folder in ("benchmarks", "tools")
    for path in REPOSITORY.glob(f"{folder}/*.py")
)


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_the_programs_beside_the_packages_import_of_them_is_there(repository: Path, program: str) -> None:
    """mypy reads the packages only; a program that nobody runs for a while would break unseen."""
    for node in ast.walk(ast.parse((repository / program).read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or node.module is None or not node.module.startswith("cgdet_"):
            continue
        if node.module.startswith("cgdet_ros"):
            pytest.importorskip("vision_msgs", reason="vision_msgs is not installed: make setup")
        module = importlib.import_module(node.module)
        for name in node.names:
            there = hasattr(module, name.name) or importlib.util.find_spec(f"{node.module}.{name.name}") is not None
            assert there, f"{program}: from {node.module} import {name.name}"


def _modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts): path
        for package in ("cgdet_core", "cgdet_ros")
        for path in (REPOSITORY / package).rglob("*.py")
        if path.name != "__init__.py"
    }


def test_no_folder_holds_more_than_twelve_modules() -> None:
    folders = Counter(path.parent for path in _modules().values())
    assert {folder.name: count for folder, count in folders.items() if count > 12} == {}


def test_no_module_of_fewer_than_sixty_lines_serves_one_other_alone() -> None:
    modules = _modules()
    importers: dict[str, set[str]] = {name: set() for name in modules}
    for path in (path for package in ("cgdet_core", "cgdet_ros") for path in (REPOSITORY / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                for name in (node.module, *(f"{node.module}.{each.name}" for each in node.names)):
                    importers.get(name, set()).add(str(path))
    small = {name for name, path in modules.items() if len(path.read_text(encoding="utf-8").splitlines()) < 60}
    small -= {name for name in small if ".commands." in name}  # a file for every subcommand, however short
    assert sorted(name for name in small if len(importers[name]) == 1) == []


def test_nothing_is_taken_from_typing_that_python_3_10_lacks() -> None:
    """mypy checks by a later version."""
    later = {
        "Self",
        "Never",
        "LiteralString",
        "Required",
        "NotRequired",
        "Unpack",
        "override",
        "assert_never",
        "TypeIs",
    }
    for path in _modules().values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "typing":
                assert later.isdisjoint(each.name for each in node.names), f"{path}: typing_extensions has it"
