"""The stages of a recipe, a run each: what one takes from those before it, and which are done.

Nothing here needs PyTorch: what can be refused is refused before that is imported, and before any stage is trained.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cgdet_core.config import Recipe, load_stages
from cgdet_core.data.feed.sources import check_paths
from cgdet_core.errors import InputError
from cgdet_core.runtime.model_file import ModelInfo
from cgdet_core.training.checkpoint import check_folder, check_same_network, load_checkpoint


@dataclass(frozen=True)
class Stage:
    """recipe: as it is kept; out: its run's folder; init: the model file that it starts from; teacher: the model of an
    earlier stage, in place of the path that the recipe gives."""

    recipe: Recipe
    out: Path
    init: Path | None = None
    teacher: Path | None = None

    @property
    def begun(self) -> bool:
        return (self.out / "checkpoint.safetensors").exists()

    def is_done(self) -> bool:
        """Whether it was trained to its end, and measured where frames are held out."""
        train, measured = self.recipe.train, not self.recipe.held_out_folds or (self.out / "held_out.json").exists()
        if not (self.begun and measured):
            return False
        checkpoint = load_checkpoint(self.out / "checkpoint.safetensors", with_tensors=False)
        return checkpoint.batches_done == -(-train.images // train.batch_size)

    def with_teacher(self) -> Recipe:
        """The recipe with the path of the teacher's file."""
        if self.teacher is None:
            return self.recipe
        found = self.recipe.guidance.teacher.model_copy(update={"path": str(self.teacher.absolute())})
        guidance = self.recipe.guidance.model_copy(update={"teacher": found})
        return self.recipe.model_copy(update={"guidance": guidance})


def read_stages(path: Path, settings: Iterable[str], out: Path, init: Path | None) -> list[Stage]:
    """Of a recipe file; a recipe without stages is one, in `out` itself, else they are in out/stage1, out/stage2 ...

    init: what the first starts from. InputError for a stage that takes what no stage before it makes.
    """
    recipes = load_stages(path, settings)
    folders = [out] if len(recipes) == 1 else [out / f"stage{number}" for number in range(1, len(recipes) + 1)]
    stages: list[Stage] = []
    for place, (recipe, folder) in enumerate(zip(recipes, folders, strict=True)):
        models = {f"stage {number}": stage for number, stage in enumerate(stages, 1)}
        start, teacher = recipe.start, recipe.guidance.teacher.path
        for key, wanted in (
            ("start", start),
            ("guidance.teacher.path", teacher if teacher.startswith("stage ") else ""),
        ):
            if wanted and wanted not in models:
                raise InputError(
                    f"{path}: {key} of stages.{place} is '{wanted}': give one of the {place} stages before it"
                )
        if start:
            earlier = models[start].recipe
            check_same_network(ModelInfo(task=earlier.task, model=earlier.model), recipe, folders[0].parent / start)
        stages.append(
            Stage(
                recipe,
                folder,
                models[start].out / "model.safetensors" if start else (None if stages else init),
                models[teacher].out / "model.safetensors" if teacher in models else None,
            )
        )
    return stages


def check_stages(stages: list[Stage], data: Path, resume: bool) -> None:
    """Refuse what is wrong with any of them; data: the folder that the recipes' paths start from."""
    for number, stage in enumerate(stages):
        # of one that was not begun there may be no start yet
        if number == 0 or stage.begun:
            check_folder(stage.recipe, stage.out, resume, None if stage.recipe.start else stage.init)
        check_paths(stage.recipe, data)
