"""The tree as a package: what colcon builds and installs, and what its files say of themselves."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import cgdet_core

EXECUTABLES = ("detector", "landmarks", "replay", "cgdet", "cgdet-detector", "cgdet-landmarks", "cgdet-replay")
SHARED_FOLDERS = ("launch", "config", "rviz", "foxglove", "models")
# of a copy of the tree
LEFT_OUT = (".git", ".venv", "build", "install", "log", "runs", "scratch", "*_cache", "__pycache__", "test")


@pytest.fixture(scope="module")
def built(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The prefix that `colcon build` of a copy of the tree filled, and what colcon said."""
    workspace = tmp_path_factory.mktemp("workspace")
    shutil.copytree(repository, workspace / "src" / "cgdet", ignore=shutil.ignore_patterns(*LEFT_OUT))
    words = [_colcon(), "--log-base", "log", "build", "--event-handlers", "console_direct+"]
    answer = subprocess.run(words, cwd=workspace, env=_environment(), capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return workspace / "install" / "cgdet_ros", answer


def _colcon() -> str:
    colcon = shutil.which("colcon", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if colcon is None:
        pytest.skip("colcon is not installed")
    return colcon


def _environment() -> dict[str, str]:
    """As in a terminal with the environment activated, apart from what ROS wheels add to this process."""
    hidden = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "COLCON_PREFIX_PATH")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
    return environment


def _site_packages(prefix: Path) -> Path:
    return prefix / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def test_colcon_builds_the_tree_without_a_warning(built: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    _, answer = built
    assert "Summary: 1 package finished" in answer.stdout
    said = (answer.stdout + answer.stderr).lower()
    assert "stderr" not in said
    assert "warning" not in said.replace("no warnings", "")


def test_colcon_installs_every_module_of_both_packages(repository: Path, built: tuple[Path, object]) -> None:
    prefix, _ = built
    for package in ("cgdet_core", "cgdet_ros"):
        modules = {path.relative_to(repository) for path in (repository / package).rglob("*.py")}
        assert modules
        missing = [str(module) for module in sorted(modules) if not (_site_packages(prefix) / module).is_file()]
        assert not missing, f"not installed, is an __init__.py missing? {missing}"


def test_colcon_installs_everything_that_ros_tools_look_for(repository: Path, built: tuple[Path, object]) -> None:
    prefix, _ = built
    assert (prefix / "share/ament_index/resource_index/packages/cgdet_ros").is_file()
    assert (prefix / "share/cgdet_ros/package.xml").read_bytes() == (repository / "package.xml").read_bytes()
    for folder in SHARED_FOLDERS:
        sources = [path for path in (repository / folder).rglob("*") if path.is_file() and _is_shared(path)]
        assert sources, f"{folder}/ holds nothing"
        for source in sources:
            installed = prefix / "share/cgdet_ros" / source.relative_to(repository)
            assert installed.is_file(), installed
            assert installed.stat().st_size == source.stat().st_size


def _is_shared(path: Path) -> bool:
    return "__pycache__" not in path.parts and not path.name.startswith(".")


def test_the_source_archive_holds_all_that_installing_and_setting_up_need(repository: Path, tmp_path: Path) -> None:
    left_out = shutil.ignore_patterns(*LEFT_OUT)
    shutil.copytree(repository, tmp_path / "cgdet", ignore=left_out)
    words = [sys.executable, "-c", "import runpy; runpy.run_path('setup.py')", "-q", "sdist", "--dist-dir", "out"]
    answer = subprocess.run(words, cwd=tmp_path / "cgdet", capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    (archive,) = (tmp_path / "cgdet" / "out").glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        held = {name.partition("/")[2] for name in packed.getnames()}
    folders = (*SHARED_FOLDERS, "resource", "requirements", "interfaces", "tools")
    needed = {
        str(path.relative_to(repository))
        for folder in folders
        for path in (repository / folder).rglob("*")
        if path.is_file() and _is_shared(path)
    }
    assert "config/fastdds_large_frames.xml" in needed
    assert needed <= held, sorted(needed - held)
    assert not any("__pycache__" in name or name.endswith(".pyc") for name in held)


def test_installed_executables_run_under_the_first_python_on_path(built: tuple[Path, object]) -> None:
    prefix, _ = built
    for name in EXECUTABLES:
        executable = prefix / "lib/cgdet_ros" / name
        assert os.access(executable, os.X_OK), executable
        assert executable.read_text().splitlines()[0] == "#!/usr/bin/env python3"


def test_executables_of_a_linked_build_run_under_the_first_python_on_path_too(repository: Path, tmp_path: Path) -> None:
    """`colcon build --symlink-install` calls `develop`, for which setuptools forgets what setup.cfg names."""
    for name in ("setup.py", "setup.cfg", "requirements", "cgdet_core/__init__.py", "cgdet_ros/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(repository / name)
    words = [sys.executable, "setup.py", "-q", "develop", "--no-deps", "--install-dir", ".", "--script-dir", "bin"]
    subprocess.run(
        words, cwd=tmp_path, env=_environment() | {"PYTHONPATH": str(tmp_path)}, capture_output=True, check=True
    )
    for name in EXECUTABLES:
        assert (tmp_path / "bin" / name).read_text().splitlines()[0] == "#!/usr/bin/env python3"


def test_the_installed_command_starts_from_the_installed_tree_alone(built: tuple[Path, object], tmp_path: Path) -> None:
    prefix, _ = built
    environment = {**_environment(), "PYTHONPATH": str(_site_packages(prefix))}
    command = [str(prefix / "lib/cgdet_ros/cgdet"), "--help"]
    answer = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "evaluate" in answer.stdout


def test_one_version_stands_in_package_xml_the_changelog_and_the_code(repository: Path) -> None:
    root = ElementTree.parse(repository / "package.xml").getroot()
    assert root.findtext("version") == cgdet_core.__version__
    changelog = (repository / "CHANGELOG.rst").read_text(encoding="utf-8")
    newest = re.search(r"^(\d+\.\d+\.\d+) \(\d{4}-\d\d-\d\d\)\n-+$", changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] == cgdet_core.__version__


def test_the_changelog_is_one_that_catkin_pkg_reads(repository: Path) -> None:
    changelog = pytest.importorskip("catkin_pkg.changelog", reason="catkin_pkg is not installed")
    read = changelog.get_changelog_from_path(str(repository), "cgdet_ros")
    versions = list(read.foreach_version())
    assert versions, "no version with a date: write 0.1.0 (2026-11-21)"
    version, date, entries = versions[0]
    assert version == cgdet_core.__version__
    assert date is not None
    assert entries


def test_package_xml_is_a_valid_manifest_of_format_3(repository: Path) -> None:
    manifest = pytest.importorskip("catkin_pkg.package", reason="catkin_pkg is not installed")
    warnings: list[str] = []
    package = manifest.parse_package(str(repository / "package.xml"), warnings=warnings)
    assert not warnings
    assert package.package_format == 3
    assert package.get_build_type() == "ament_python"
    assert package.licenses == ["Apache-2.0"]


def test_package_xml_names_every_ros_package_that_the_code_imports(repository: Path) -> None:
    root = ElementTree.parse(repository / "package.xml").getroot()
    named = {element.text for element in root.iter() if element.tag.endswith("depend")}
    imported: set[str] = set()
    for file in [*(repository / "cgdet_ros").rglob("*.py"), *(repository / "launch").rglob("*.py")]:
        text = file.read_text(encoding="utf-8")
        imported |= set(re.findall(r"^\s*(?:from|import) (\w+)", text, re.MULTILINE))
    ros = {name for name in imported if name.endswith("_msgs") or name.startswith(("rcl", "launch", "ament_"))}
    ros |= imported & {"std_srvs", "builtin_interfaces", "cv_bridge", "rcl_interfaces", "tf2_ros"}
    assert "rclpy" in ros
    assert ros <= named
