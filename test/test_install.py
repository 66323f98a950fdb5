"""What installs cgdet elsewhere: the Dockerfile, the workflow, and the page that says how."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import yaml


def read(repository: Path, path: str) -> str:
    return (repository / path).read_text(encoding="utf-8")


def workflow(repository: Path) -> dict[str, Any]:
    content = yaml.safe_load(read(repository, ".github/workflows/ci.yml"))
    assert isinstance(content, dict)
    return content


def test_the_page_lists_the_rosdep_keys_that_package_xml_has(repository: Path) -> None:
    keys = {
        element.text
        for element in ElementTree.fromstring(read(repository, "package.xml"))
        if element.tag.endswith("depend")
    }
    page = read(repository, "docs/guides/install.md")
    rows = [line.split("|")[1] for line in page.splitlines() if line.endswith(("released |", "| apt |"))]
    listed = [key.strip() for row in rows for key in row.split(",")]
    # a new key has to be looked up in rosdistro, and written there
    assert sorted(listed) == sorted(keys)


def test_what_pip_brings_is_named_beside_the_rosdep_keys(repository: Path) -> None:
    comment = read(repository, "package.xml").partition("From pip")[2].partition("-->")[0]
    keys = read(repository, "package.xml").replace("python3-", "")
    for line in read(repository, "requirements/core.txt").splitlines():
        name = re.split(r"[<>=; ]", line)[0].lower()
        if name and not name.startswith("#"):
            plain = {"opencv-python-headless": "opencv", "pyyaml": "yaml"}.get(name, name)
            assert plain in comment or f">{plain}<" in keys, name


def test_the_workflow_runs_the_two_commands_with_limits(repository: Path) -> None:
    jobs = workflow(repository)["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert [command.split(" PYTHON=")[0] for command in commands] == ["make test", "make demo"]
    assert all(5 <= job["timeout-minutes"] <= 60 for job in jobs.values())


def test_the_workflow_names_a_version_of_every_action(repository: Path) -> None:
    steps = [step for job in workflow(repository)["jobs"].values() for step in job["steps"]]
    actions = [step["uses"] for step in steps if "uses" in step]
    assert actions
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in actions)
    assert workflow(repository)["permissions"] == {"contents": "read"}


def test_the_workflows_pythons_are_those_that_the_set_up_takes(repository: Path) -> None:
    pythons = workflow(repository)["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert all(isinstance(version, str) for version in pythons), "3.10 without quotes is 3.1"
    low, high = re.findall(r"\(3, (\d+)\)", read(repository, "tools/setup_environment.py"))
    numbers = [int(version.partition(".")[2]) for version in pythons]
    assert (min(numbers), max(numbers)) == (int(low), int(high))


def test_the_dockerfile_installs_what_the_page_names_and_copies_what_is_there(repository: Path) -> None:
    dockerfile = read(repository, "docker/Dockerfile")
    asked = set(re.findall(r"ros-\$\{ROS_DISTRO\}-[\w-]+|python3-[\w-]+", dockerfile))
    page = read(repository, "docs/guides/install.md")
    assert asked
    assert all(package.replace("{", "").replace("}", "") in page for package in asked)
    assert "COPY . ." in dockerfile
    for target in re.findall(r"make ([a-z]+)", dockerfile):
        assert re.search(rf"^{target}:", read(repository, "Makefile"), re.MULTILINE), target


def test_the_dockerfiles_entrypoint_lies_where_it_says_and_runs(repository: Path) -> None:
    (path,) = re.findall(r'ENTRYPOINT \["/ws/src/cgdet/([\w./]+)"\]', read(repository, "docker/Dockerfile"))
    assert os.access(repository / path, os.X_OK)
    assert read(repository, path).rstrip().endswith('exec "$@"')


def test_no_build_output_reaches_an_image(repository: Path) -> None:
    left_out = read(repository, ".dockerignore").splitlines()
    assert {".venv", "build", "install", "log", ".git"} <= set(left_out)


def test_the_issue_templates_are_forms_that_ask_for_what_a_maintainer_needs(repository: Path) -> None:
    for name in ("bug", "camera"):
        form = yaml.safe_load(read(repository, f".github/ISSUE_TEMPLATE/{name}.yml"))
        assert {"name", "description", "body"} <= set(form)
        asked = {field["id"]: field["attributes"]["label"] for field in form["body"]}
        assert len(asked) == len(form["body"]), "ids are unique"
        assert {"camera", "bag", "info"} <= set(asked)
        assert "cgdet info" in asked["info"]
        assert "cgdet bag info" in asked["bag"]


def test_the_citation_names_both_papers_with_their_authors(repository: Path) -> None:
    citation = yaml.safe_load(read(repository, "CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    papers = {paper["identifiers"][0]["value"]: paper for paper in citation["references"]}
    assert set(papers) == {"arXiv:2511.01435", "arXiv:2510.11128"}
    assert all(paper["title"] and paper["authors"][0]["family-names"] for paper in papers.values())


@pytest.mark.parametrize("program", ["detector", "landmarks", "replay"])
def test_a_program_of_the_node_names_a_missing_ros_in_one_line(program: str) -> None:
    code = f"import sys; sys.modules['rclpy'] = None; import cgdet_ros; sys.exit(cgdet_ros.{program}())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("cgdet: error: ROS 2 is missing here (no rclpy")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [["export"], ["detect", "frame.png", "--out", "x", "--model", "m.safetensors"]])
def test_a_command_that_needs_pytorch_says_so_in_one_line(words: list[str], tmp_path: Path, repository: Path) -> None:
    (tmp_path / "m.safetensors").symlink_to(repository / "models/detector.safetensors")
    (tmp_path / "frame.png").touch()
    code = "import sys; sys.modules['torch'] = None; from cgdet_core.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("cgdet: error: ")
    assert "pip install -r requirements/train.txt" in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_is_shipped_has_the_models_the_types_and_no_pytorch_among_its_needs(repository: Path) -> None:
    core = read(repository, "requirements/core.txt")
    assert "openvino" in core
    assert "torch" not in re.findall(r"^[a-z]+", core, re.MULTILINE)
    assert all((repository / package / "py.typed").is_file() for package in ("cgdet_core", "cgdet_ros"))
