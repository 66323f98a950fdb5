"""cgdet teacher: an RGB teacher against labelled RGB pictures, before anything is taught by it."""

from __future__ import annotations

import argparse
from pathlib import Path

from cgdet_core.commands import common
from cgdet_core.errors import check_known

NMS_IOU = 0.65  # with which the published figures of such teachers were measured


def add(subparsers: common.Subparsers) -> None:
    parser = common.add_command(
        subparsers,
        "teacher",
        "measure an RGB teacher before it teaches; it needs its weights and labelled RGB pictures",
        "cgdet teacher --teacher yolox_s.safetensors --data msrs/rgb_test.json yolox_input=bgr_raw",
    )
    parser.add_argument("--teacher", type=Path, metavar="F", help="weights of the teacher (the setting path)")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="COCO JSON of RGB pictures, or of thermal frames that name RGB partners, which are looked at then",
    )
    common.add_class_map_argument(parser)
    common.add_json_argument(parser)
    common.add_device_arguments(parser, backend=False)
    common.add_settings_argument(parser, "of the teacher, such as kind=model")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    import torch

    from cgdet_core.commands.evaluate import summary
    from cgdet_core.config import PostprocessConfig, Recipe, TeacherConfig, settings_from_words
    from cgdet_core.data.sets.coco import load_coco
    from cgdet_core.distill.teachers import load_teacher
    from cgdet_core.distill.teachers.figures import measure_teacher, seen_lines
    from cgdet_core.evaluation.detection import DETECTION
    from cgdet_core.evaluation.metrics.matching import MIN_SCORE
    from cgdet_core.evaluation.metrics.metrics import evaluate
    from cgdet_core.files import sha256_of
    from cgdet_core.runtime.backends.torch import DTYPES, choose_device
    from cgdet_core.runtime.predictor import percentiles
    from cgdet_core.types import CLASS_NAMES

    device = choose_device(arguments.device)
    precision = "fp32" if arguments.precision == "auto" else arguments.precision
    check_known("a teacher", "precision", [precision], ("fp32", "bf16"))
    given = {"path": str(arguments.teacher)} if arguments.teacher else {}
    config = settings_from_words(TeacherConfig, arguments.settings, "cgdet teacher", given)
    postprocess = PostprocessConfig(nms_iou=NMS_IOU, score_threshold=MIN_SCORE)
    data = load_coco(arguments.data, CLASS_NAMES, arguments.class_map)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    teacher = load_teacher(config, Recipe(), Path()).to(device, DTYPES[precision])
    common.print_warnings(data.warnings)
    result = measure_teacher(teacher, data, postprocess)
    path = Path(config.path)
    figures = evaluate(result.frames, CLASS_NAMES).to_json(
        {
            "data": str(arguments.data),
            "model": path.name,
            "model_sha256": sha256_of(path),
            "teacher": config.model_dump(mode="json"),
            "params": sum(parameter.numel() for parameter in teacher.network.parameters()),
            "model_bytes": path.stat().st_size,
            "ms_per_image": percentiles(result.look_ms),
            "device": str(device),
            "precision": precision,
            "seen": result.seen_figures(CLASS_NAMES),
        }
    )
    common.put_out(figures, arguments.json, "\n".join((summary(DETECTION, figures), *seen_lines(figures["seen"]))))
    return 0
