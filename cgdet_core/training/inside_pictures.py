"""Pictures of what inside.py finds: the plane of region embeddings, and a frame's maps side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cgdet_core.drawing import class_colour_hex
from cgdet_core.files import replacing
from cgdet_core.training.inside import EmbeddedRegions, FrameMaps, common_colours, unlikeness
from cgdet_core.types import Sample

_STYLE: dict[Any, Any] = {"font.size": 9, "font.family": "sans-serif", "text.parse_math": False}
_MARKERS = {"day": "o", "night": "^"}


def draw_embeddings(path: Path, regions: EmbeddedRegions, class_names: Sequence[str], title: str) -> None:
    """A PNG: every region a mark in the colour of its class (triangles by night). InputError where the disk refuses."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(8, 6.4), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        plane = regions.plane()
        agreement = regions.agreement()
        lights = np.array(regions.lights)
        for class_id, name in enumerate(class_names):
            of_class = regions.class_ids == class_id
            label = f"{name}: {of_class.sum()}"
            if class_id in agreement:
                label += f", nearest of another frame alike {agreement[class_id]:.2f}"
            for light in sorted(set(regions.lights)):
                chosen = plane[of_class & (lights == light)]
                colour = class_colour_hex(class_id)
                marker = _MARKERS.get(light, "o")
                axes.scatter(
                    chosen[:, 0],
                    chosen[:, 1],
                    s=14,
                    marker=marker,
                    color=colour,
                    linewidths=0.2,
                    edgecolors="#333333",
                    label=label,
                )
                label = "_"  # one line of the legend for each class
        axes.set_title(f"{title}; triangles: night" if "night" in regions.lights else title)
        axes.set_xlabel("first principal component")
        axes.set_ylabel("second")
        axes.legend(loc="best")
        with replacing(path) as partial:
            figure.savefig(partial, format="png", metadata={"Software": None})


def draw_maps(path: Path, sample: Sample, maps: FrameMaps) -> None:
    """A PNG: the frame and its RGB with the labels; below, for each stride, student, teacher and where they differ.

    In a row like colours are like features. A label's number is what the teacher sees of the object.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        height, width = maps.image.shape
        columns = 3 if maps.teacher is not None else 1
        rows = 1 + len(maps.student)
        figure = Figure(
            figsize=(4.2 * max(columns, 2), (4.2 * height / width + 0.3) * rows), dpi=80, layout="constrained"
        )
        FigureCanvasAgg(figure)
        grid = figure.subplots(rows, max(columns, 2), squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        _labelled(grid[0][0], maps.image, sample, None)
        grid[0][0].set_title("thermal, as the network gets it")
        if sample.rgb is not None:
            _labelled(grid[0][1], sample.rgb, sample, maps.seen)
            grid[0][1].set_title("RGB" if maps.seen is None else "RGB, and what the teacher sees")
        for row, stride in zip(grid[1:], maps.student, strict=True):
            if maps.adapted is None or maps.teacher is None:
                row[0].imshow(common_colours(maps.student[stride])[0], interpolation="nearest")
                row[0].set_title(f"student, stride {stride}")
                continue
            student, teacher = maps.adapted[stride], maps.teacher[stride]
            for axes, picture, title in zip(
                row, common_colours(student, teacher), ("student", "teacher"), strict=False
            ):
                axes.imshow(picture, interpolation="nearest")
                axes.set_title(f"{title}, stride {stride}")
            row[2].imshow(unlikeness(student, teacher), cmap="magma", vmin=0, vmax=2, interpolation="nearest")
            row[2].set_title("unlike (black: alike; at random 1)")
        with replacing(path) as partial:
            figure.savefig(partial, format="png", metadata={"Software": None})


def _labelled(axes: Any, image: Any, sample: Sample, seen: Any) -> None:
    from matplotlib.patches import Rectangle

    axes.imshow(image, cmap="gray", vmin=0, vmax=1 if image.dtype == np.float32 else 255)
    if sample.truth is None:
        return
    scale = image.shape[0] / sample.frame.image.shape[0]
    true = ~sample.truth.ignore
    for index, (box, class_id) in enumerate(
        zip(sample.truth.boxes_xyxy_px[true], sample.truth.class_ids[true], strict=True)
    ):
        left, top, right, bottom = box * scale
        colour = class_colour_hex(int(class_id))
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=1.2))
        if seen is not None:
            axes.text(left, top, f"{seen[index]:.1f}", color=colour, fontsize=7, va="bottom")
