"""What the pages of the repository name is there: links, files, settings, and every command with its options."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import pytest
from pydantic import BaseModel

from cgdet_core import cli, thermal
from cgdet_core.config import LabelConfig, Recipe, RegisterConfig, SyntheticConfig, load_stages, settings_from_words
from cgdet_core.data.synthetic.bag import make_synthetic_bag
from cgdet_core.data.synthetic.faces.drawing import drawn_face
from cgdet_core.runtime.model_file import ModelInfo, save_model
from cgdet_core.tasks import build_network
from cgdet_ros.config import DetectorConfig

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = sorted(
    page.relative_to(REPOSITORY).as_posix()
    for page in (*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"), *(REPOSITORY / "models").glob("*.md"))
)
# fenced, or set in by four spaces behind an empty line
_BLOCK = re.compile(r"^```(?:sh|)\n(.*?)^```|(?<=\n\n)((?:    [^\n]*\n)+)", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
# a placeholder, or what `cgdet export` makes
_NOT_THERE = re.compile(r"[…<{]|\.(onnx|xml|bin)$")
_FOLDERS = ("benchmarks", "cgdet_core", "cgdet_ros", "config", "docs", "interfaces", "launch", "models")
_FOLDERS += ("requirements", "rviz", "test", "tools")


class Command(NamedTuple):
    """The words of one command, and whether they are given in full or only named within a sentence."""

    words: list[str]
    whole: bool

    @property
    def name(self) -> str:
        return self.words[0].removeprefix(".venv/bin/")


def page_text(page: str) -> tuple[str, str]:
    """The lines of its blocks, joined where they go on; the rest."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    blocks = "\n".join(fenced or set_in for fenced, set_in in _BLOCK.findall(text))
    return blocks.replace("\\\n", " "), _BLOCK.sub("", text)


def commands(page: str) -> Iterator[Command]:
    block, prose = page_text(page)
    lines = [(line, True) for line in block.splitlines()]
    lines += [(word.replace("\n", " "), False) for word in _INLINE.findall(prose)]
    for line, whole in lines:
        # what may be left out is there as well
        lexer = shlex.shlex(re.sub(r"\[(--.*?)\]|…", r"\1", line), posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        lexer.commenters = "#" if whole else ""
        try:
            tokens = list(lexer)
        except ValueError:  # a quote within a sentence, or no command at all
            continue
        words: list[str] = []
        for token in [*tokens, ";"]:
            if token.strip(";&|"):
                words.append(token)
            elif words:
                yield Command(words, whole)
                words = []


def of(*names: str) -> list[tuple[str, Command]]:
    found = [(page, command) for page in PAGES for command in commands(page)]
    # of one word, or with a sign in it, it is not a command but a name that a sentence speaks of
    typed = [each for each in found if each[1].whole or re.match(r"[a-z.-]", "".join(each[1].words[1:2]))]
    return [(page, command) for page, command in typed if command.name in names]


def _shown(value: object) -> str:
    return " ".join(value.words) if isinstance(value, Command) else str(value)


def _cgdet() -> list[tuple[str, Command]]:
    by_torchrun = [
        (page, Command(["cgdet", *command.words[command.words.index("cgdet_core.cli") + 1 :]], command.whole))
        for page, command in of("torchrun")
        if "cgdet_core.cli" in command.words
    ]
    return of("cgdet") + by_torchrun


@pytest.mark.parametrize("page", PAGES)
def test_local_links_lead_to_files_and_headings_that_are_there(page: str) -> None:
    for target in _LINK.findall((REPOSITORY / page).read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (REPOSITORY / page).parent / name if name else REPOSITORY / page
        assert file.exists(), f"{page} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in slugs, f"{page} links to {target}"


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_are_there(page: str) -> None:
    block, prose = page_text(page)
    words = [word for text in _INLINE.findall(prose) for word in text.split()] + block.split()
    for word in words:
        name = word.strip("`,;:()").rstrip("/")
        if name.split("/")[0] not in _FOLDERS or "/" not in name or _NOT_THERE.search(name):
            continue
        assert list(REPOSITORY.glob(name)), f"{page} names {word}"


@pytest.mark.parametrize(("folder", "page"), [("cameras", "cameras.md"), ("recipes", "training.md")])
def test_the_reference_lists_every_camera_and_recipe(folder: str, page: str) -> None:
    listed = set(_INLINE.findall((REPOSITORY / "docs" / "reference" / page).read_text(encoding="utf-8")))
    files = {path.name for path in (REPOSITORY / "config" / folder).glob("*.yaml")}
    assert files
    assert {name for name in files if not {name, name.removesuffix(".yaml")} & listed} == set()


def test_every_page_is_in_the_index() -> None:
    index = (REPOSITORY / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {path.relative_to(REPOSITORY / "docs").as_posix() for path in (REPOSITORY / "docs").rglob("*.md")}
    assert pages - set(_LINK.findall(index)) == {"README.md"}


@pytest.mark.parametrize("page", PAGES)
def test_settings_that_are_named_exist(page: str) -> None:
    sections = "|".join(Recipe.model_fields)
    for word in _INLINE.findall(page_text(page)[1]):
        if not re.fullmatch(rf"(?:{sections})\.[\w.*]+(?:=\S*)?", word) or word.endswith(
            (".py", ".safetensors", ".onnx")
        ):
            continue
        if word.startswith("thermal.") and hasattr(thermal, word.removeprefix("thermal.")):
            continue
        kind: object = Recipe
        for key in word.partition("=")[0].split("."):
            if key == "*" or not (isinstance(kind, type) and issubclass(kind, BaseModel)):
                break
            assert key in kind.model_fields, f"{page} names {word}"
            kind = kind.model_fields[key].annotation


@pytest.mark.parametrize(("page", "command"), _cgdet(), ids=_shown)
def test_cgdet_commands_have_the_options_that_are_given(
    page: str, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["llvip" if word == "SET" else word for word in command.words[1:]]
    if command.whole:
        arguments = cli.parse(words)
        if words[0] == "train" and (REPOSITORY / words[1]).exists():
            load_stages(REPOSITORY / words[1], arguments.settings)
        elif words[:2] == ["bag", "label"]:
            settings_from_words(LabelConfig, arguments.settings, page)
        elif words[:2] == ["bag", "register"]:
            settings_from_words(RegisterConfig, arguments.settings, page)
    options = [number for number, word in enumerate(words) if word.startswith("-")]
    with pytest.raises(SystemExit) as end:
        cli.parse([*words[: options[0] if options else None], "--help"])
    assert end.value.code == 0, f"{page}: {' '.join(words)}"
    shown = capsys.readouterr().out
    for number in options:
        assert re.search(rf"(?<!\S){re.escape(words[number])}\b", shown), f"{page}: {' '.join(words)}"


def test_the_examples_of_every_help_can_be_typed(capsys: pytest.CaptureFixture[str]) -> None:
    """Those of `cgdet` itself and of each command below it, found by their help."""
    waiting: list[list[str]] = [[]]
    seen = 0
    while waiting:
        path = waiting.pop()
        with pytest.raises(SystemExit):
            cli.parse([*path, "--help"])
        shown = capsys.readouterr().out
        example = re.search(r"^examples?:\n((?:  .*\n?)+)", shown, re.MULTILINE)
        assert example is not None, path
        for line in example.group(1).replace("\\\n", " ").splitlines():
            cli.parse(shlex.split(line, comments=True)[1:])
            seen += 1
        if re.search(r"^usage: .*COMMAND", shown, re.MULTILINE):
            waiting += [[*path, name] for name in re.findall(r"^    ([a-z][\w-]*)  ", shown, re.MULTILINE)]
    assert seen > 15


@pytest.mark.parametrize(("page", "command"), of("cgdet-replay"), ids=_shown)
def test_replay_has_the_options_that_are_given(page: str, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    from cgdet_ros.replay import cli as replay

    with pytest.raises(SystemExit) as end:
        replay.main(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    for word in command.words:
        assert not word.startswith("--") or re.search(rf"(?<!\S){word}\b", shown), f"{page}: {command.words}"


@pytest.mark.parametrize(("page", "command"), of("make"), ids=_shown)
def test_make_has_the_targets_and_settings_that_are_given(page: str, command: Command) -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    words = command.words[3:] if command.words[1:2] == ["-C"] else command.words[1:]
    for word in words:
        name, equals, _ = word.partition("=")
        stated = rf"^{name} [?]=" if equals else rf"^{name}:"
        assert re.search(stated, makefile, re.MULTILINE), f"{page}: {' '.join(command.words)}"


@pytest.mark.parametrize(("page", "command"), of("python", "python3"), ids=_shown)
def test_programs_have_the_options_that_are_given(page: str, command: Command) -> None:
    if not command.words[1:] or not command.words[1].endswith(".py"):
        return
    source = (REPOSITORY / command.words[1]).read_text(encoding="utf-8")
    for word in command.words[2:]:
        assert not word.startswith("--") or f'"{word}"' in source, f"{page}: {' '.join(command.words)}"


@pytest.mark.parametrize(("page", "command"), of("ros2"), ids=_shown)
def test_ros2_commands_name_what_is_there(page: str, command: Command) -> None:
    kind, *words = command.words[1:]
    ours = words[:1] == ["cgdet_ros"] and len(words) > 1
    if kind == "launch" and ours:
        source = (REPOSITORY / "launch" / words[1]).read_text(encoding="utf-8")
        if "cgdet_ros.launching" in source:  # whose arguments these are too
            source += (REPOSITORY / "cgdet_ros" / "launching.py").read_text(encoding="utf-8")
        for name in (word.partition(":=")[0] for word in words[2:] if ":=" in word):
            assert f'"{name}"' in source, f"{page}: {' '.join(command.words)}"
    elif kind == "run" and ours:
        assert f"\n    {words[1]} = cgdet_ros:{words[1]}\n" in (REPOSITORY / "setup.cfg").read_text(encoding="utf-8")
    elif kind == "param" and len(words) > 2:
        first, *below = words[2].split(".")
        field = DetectorConfig.model_fields[first]
        assert all(name in field.annotation.model_fields for name in below), f"{page}: {' '.join(command.words)}"


def _python_blocks() -> dict[str, list[str]]:
    pages = ("README.md", "docs/guides/library.md", "docs/guides/landmarks.md")
    block = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
    return {page: block.findall((REPOSITORY / page).read_text(encoding="utf-8")) for page in pages}


def test_what_the_pages_show_in_python_has_right_types_as_a_user_would_check_it(tmp_path: Path) -> None:
    files = []
    for number, blocks in enumerate(_python_blocks().values()):
        files.append(tmp_path / f"page_{number}.py")
        files[-1].write_text("\n".join(blocks))
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from cgdet_core import Detector\n\nDetector()(1)\nDetector().no_such_thing\n")
    words = [sys.executable, "-m", "mypy", "--config-file", str(REPOSITORY / "pyproject.toml")]
    words += ["--cache-dir", str(REPOSITORY / ".mypy_cache"), *map(str, files), str(wrong)]
    answer = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    told = [line.partition(": error: ")[0] for line in answer.stdout.splitlines() if ": error: " in line]
    assert sorted({Path(each).name for each in told}) == ["wrong.py:3", "wrong.py:4"], answer.stdout


def test_what_the_pages_show_in_python_runs_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The blocks of a page one after another, on the picture, the bag and the labels that they name."""
    make_synthetic_bag(tmp_path / "drive", SyntheticConfig(seconds=0.3, with_rgb=False), seed=2)
    assert cli.main(["bag", "extract", str(tmp_path / "drive"), "--out", str(tmp_path / "set"), "--no-rgb"]) == 0
    (labels,) = (tmp_path / "set").glob("*.json")
    (tmp_path / "labels.json").write_text(labels.read_text().replace('"file_name": "', '"file_name": "set/'))
    shutil.copy(min((tmp_path / "set").rglob("*.png")), tmp_path / "frame.png")
    landmarks = Recipe.model_validate({"task": "landmarks"})
    info = ModelInfo(task="landmarks", model=landmarks.model, postprocess=landmarks.postprocess)
    save_model(tmp_path / "landmarks.safetensors", build_network("landmarks", landmarks.model).eval(), info)
    cv2.imwrite(str(tmp_path / "face.png"), drawn_face(0, 128).frame.image)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    found = _python_blocks()
    assert [len(blocks) for blocks in found.values()] == [1, 6, 1]
    for page, blocks in found.items():
        names: dict[str, object] = {}
        for block in blocks:
            exec(compile(block, page, "exec"), names)
    said = capsys.readouterr().out
    assert said.count(" labelled") == 3
    assert "(1, 68, 2)" in said
    assert cv2.imread("found.png").shape == (1024, 1280, 3)
