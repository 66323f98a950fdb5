"""cgdet bag register: by how much the clocks differ and where RGB pixels lie in the thermal frame."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgdet_core.commands import common
from cgdet_core.files import write_bytes

if TYPE_CHECKING:
    from cgdet_core.data.registration.register import Registered


# what `register_bag` is asked for: the flag, the setting of RegisterConfig, and its help
_ASKED = (
    ("--thermal-topic", "thermal_topic", "image topic (default: the most thermal-looking one)"),
    ("--rgb-topic", "rgb_topic", "image topic (default: the only or best one in colour)"),
    ("--by", "by", "time of a frame: stamp (default) or record"),
    ("--offset", "offset_s", "seconds to add to RGB stamps, where you know them"),
    ("--tolerance", "tolerance_s", "seconds between the frames of a pair (default: half a period)"),
    ("--extrinsic", "extrinsic", "YAML of rotation, translation_m and plane_distance_m: homography by CameraInfos"),
)


def add(subparsers: common.Subparsers) -> None:
    parser = common.add_command(
        subparsers,
        "register",
        "find two cameras' clock offset and homography; it needs a bag with thermal and RGB images",
        "cgdet bag register drive --out registration.yaml --preview preview.png",
    )
    parser.add_argument("bag", type=Path, metavar="BAG", help="rosbag2 folder, or a ROS 1 bag")
    parser.add_argument("--out", type=common.writable, required=True, metavar="F", help="registration to write (YAML)")
    parser.add_argument("--preview", type=common.writable, metavar="F", help="blended picture of three pairs (PNG)")
    for flag, setting, said in _ASKED:
        parser.add_argument(flag, dest=setting, metavar=flag[2:].rpartition("-")[2].upper(), help=said)
    common.add_json_argument(parser)
    common.add_settings_argument(parser, "of the search, such as max_offset_s=5")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from cgdet_core.config import RegisterConfig, settings_from_words
    from cgdet_core.data.registration.homography import save_registration
    from cgdet_core.data.registration.register import preview, register_bag
    from cgdet_core.images import encode_png

    asked = {name: value for _, name, _ in _ASKED if (value := getattr(arguments, name)) is not None}
    config = settings_from_words(RegisterConfig, arguments.settings, "cgdet bag register", asked)
    found = register_bag(arguments.bag, config)
    if arguments.preview is not None:
        some = found.chosen[:: max(1, len(found.chosen) // 3)][:3]
        write_bytes(arguments.preview, encode_png(preview(some, found.registration)))
    save_registration(arguments.out, found.registration)
    common.put_out(_document(found), arguments.json, "\n".join([*_lines(found), f"registration: {arguments.out}"]))
    common.print_warnings(found.warnings)
    return 0


def _lines(found: Registered) -> list[str]:
    registration = found.registration
    return [
        f"thermal  {found.thermal_topic}",
        f"RGB      {found.rgb_topic}",
        f"offset   {registration.offset_ns / 1e6:.1f} ms, added to RGB stamps",
        found.pairs.to_text(),
        f"homography {registration.how}",
        *(f"  {name:18} {value:g}" for name, value in registration.quality.items()),
    ]


def _document(found: Registered) -> dict[str, Any]:
    registration, pairs = found.registration, found.pairs
    return {
        **{name: getattr(found, name) for name in ("thermal_topic", "rgb_topic")},
        **{name: getattr(registration, name) for name in ("how", "offset_ns", "tolerance_ns", "quality")},
        "homography": registration.homography.tolist(),
        "pairs": len(pairs),
        "median_difference_ms": pairs.median_difference_ms,
        "thermal": {"left_over": pairs.thermal.frames - len(pairs), **vars(pairs.thermal)},
        "rgb": {"left_over": pairs.rgb.frames - len(pairs), **vars(pairs.rgb)},
        "warnings": list(found.warnings),
    }
