"""cgdet bag label: a bag's thermal frames, labelled by what an RGB teacher sees."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from cgdet_core.commands import common
from cgdet_core.commands.bag.pairs import add_pair_arguments, paired_bag
from cgdet_core.commands.many import add_bags_argument
from cgdet_core.errors import InputError, check_known

if TYPE_CHECKING:
    from cgdet_core.config import LabelConfig


def add(subparsers: common.Subparsers) -> None:
    parser = common.add_command(
        subparsers,
        "label",
        "label thermal frames by an RGB detector; it needs a bag of both cameras, and the detector's weights",
        "cgdet bag label street --teacher yolox_s.safetensors --out labels.json teacher.yolox_input=bgr_raw",
    )
    add_bags_argument(parser, run, suffix=".json", check=check)
    add_pair_arguments(parser)
    out = "labels: COCO JSON keyed by stamp; of several bags a folder, with NAME.json of each"
    parser.add_argument("--out", required=True, metavar="F.json", help=out)
    parser.add_argument("--teacher", type=Path, metavar="F", help="the detector's weights (the setting teacher.path)")
    second = "a thermal model of this project: what it detects and the teacher does not is a region to ignore"
    parser.add_argument("--second-opinion", type=Path, metavar="MODEL", help=second)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    common.add_threads_argument(parser)
    common.add_settings_argument(parser, "of the labelling, such as teacher.kind=model class_thresholds.person=0.4")


def check(arguments: argparse.Namespace) -> LabelConfig:
    """The settings; InputError for what is wrong with them."""
    from cgdet_core.config import LabelConfig, settings_from_words
    from cgdet_core.types import CLASS_NAMES

    # argparse takes settings behind the bags for bags
    words = [word for word in arguments.bags if "=" in word and re.split("[.=]", word)[0] in LabelConfig.model_fields]
    arguments.bags = [word for word in arguments.bags if word not in words]
    arguments.settings += words
    given = {"teacher": {"path": str(arguments.teacher)}} if arguments.teacher else {}
    config = settings_from_words(LabelConfig, arguments.settings, "cgdet bag label", given)
    check_known("class_thresholds", "class", config.class_thresholds, CLASS_NAMES)
    if config.teacher.sees != "rgb":
        raise InputError("teacher.sees=thermal: labels come from RGB images: leave it out")
    return config


def run(arguments: argparse.Namespace) -> int:
    import torch

    from cgdet_core.config import Recipe
    from cgdet_core.distill.teachers import load_teacher
    from cgdet_core.runtime.backends.torch import choose_device
    from cgdet_core.runtime.predictor import Predictor
    from cgdet_core.training.pseudo_labels import label_frames, write_labels
    from cgdet_core.types import CLASS_NAMES

    device = choose_device(arguments.device)
    config = check(arguments)
    bag = paired_bag(arguments)
    if bag.registration is None or bag.pairs is None:
        raise InputError(f"{arguments.bag}: no RGB topic was found: name it with --rgb-topic")
    print(bag.pairs.to_text())
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    teacher = load_teacher(config.teacher, Recipe(), Path()).to(device)
    second = None
    if arguments.second_opinion is not None:
        second = Predictor(arguments.second_opinion, arguments.device, threads=arguments.threads, backend="torch")
        if second.info.class_names != CLASS_NAMES:
            raise InputError(f"{arguments.second_opinion}: give a model of the classes {', '.join(CLASS_NAMES)}")
    frames = label_frames(bag, teacher, config, CLASS_NAMES, second)
    how = {
        "labelled_by": teacher.identity,
        "bag": bag.path.name,
        "settings": config.model_dump(mode="json", exclude={"teacher": {"path"}}),
        "second_opinion": None if second is None else f"{second.model_path.name} sha256:{second.model_sha256}",
    }
    summary = write_labels(arguments.out, frames, bag.registration.thermal_height_width_px, CLASS_NAMES, how)
    print(f"{summary}\nlabels: {arguments.out}")
    return 0
