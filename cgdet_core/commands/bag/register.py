"""cgdet bag register: by how much the clocks differ and where RGB pixels lie in the thermal frame."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgdet_core.commands.common import (
    Subparsers,
    add_command,
    add_json_argument,
    check_json_place,
    print_or_write_json,
    print_warnings,
)
from cgdet_core.files import check_can_write, replacing

if TYPE_CHECKING:
    from cgdet_core.data.registration.register import Registered


# what `register_bag` is asked for, as RegisterConfig names it
_ASKED = ("thermal_topic", "rgb_topic", "start_s", "seconds", "offset_s", "tolerance_s", "identity", "extrinsic")


def add(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "register",
        "find the clocks' offset and the homography of a bag's RGB and thermal cameras",
        "cgdet bag register drive --out registration.yaml --preview preview.png\n"
        "  cgdet bag register drive --out registration.yaml --extrinsic mount.yaml",
    )
    parser.add_argument("bag", type=Path, metavar="BAG", help="rosbag2 folder, or a ROS 1 bag")
    parser.add_argument("--out", type=Path, required=True, metavar="F", help="registration to write (YAML)")
    parser.add_argument("--preview", type=Path, metavar="F", help="blended picture of three pairs to write (PNG)")
    parser.add_argument("--thermal-topic", metavar="T", help="image topic (default: the most thermal-looking one)")
    parser.add_argument("--rgb-topic", metavar="T", help="image topic (default: the only or best one in colour)")
    parser.add_argument("--start", dest="start_s", metavar="S", help="seconds of the bag to leave out")
    parser.add_argument("--seconds", metavar="S", help="of the bag to look at (default: all)")
    parser.add_argument("--offset", dest="offset_s", metavar="S", help="known: what is added to RGB stamps, seconds")
    parser.add_argument("--tolerance", dest="tolerance_s", metavar="S", help="of a pair (default: half a period)")
    known = parser.add_mutually_exclusive_group()
    known.add_argument("--identity", action="store_true", help="the pictures are registered already")
    known.add_argument(
        "--extrinsic",
        metavar="F",
        help="homography by CameraInfos and this YAML: rotation, translation_m, plane_distance_m",
    )
    add_json_argument(parser)
    parser.add_argument(
        "settings", nargs="*", default=[], metavar="key=value", help="settings of the search, such as max_offset_s=5"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from cgdet_core.config import RegisterConfig, settings_from_words
    from cgdet_core.data.registration.homography import save_registration
    from cgdet_core.data.registration.register import register_bag

    asked = {name: value for name in _ASKED if (value := getattr(arguments, name)) is not None}
    config = settings_from_words(RegisterConfig, arguments.settings, "cgdet bag register", asked)
    check_can_write(arguments.out)
    check_json_place(arguments.json)
    if arguments.preview is not None:
        check_can_write(arguments.preview)
    found = register_bag(arguments.bag, config)
    if arguments.preview is not None:
        _write_preview(arguments.preview, found)
    save_registration(arguments.out, found.registration)
    if arguments.json != "-":
        print("\n".join(_lines(found)))
        print(f"registration: {arguments.out}")
    print_or_write_json(_document(found), arguments.json)
    print_warnings(found.warnings)
    return 0


def _write_preview(path: Path, found: Registered) -> None:
    from cgdet_core.data.registration.pictures import preview
    from cgdet_core.images import encode_png

    picture = preview(found.chosen[:: max(1, len(found.chosen) // 3)][:3], found.registration)
    with replacing(path) as partial:
        partial.write_bytes(encode_png(picture))


def _lines(found: Registered) -> list[str]:
    registration, clock, alignment = found.registration, found.clock, found.alignment
    lines = [f"thermal  {found.thermal_topic}", f"RGB      {found.rgb_topic}"]
    certainty = "given"
    if clock is not None:
        certainty = f"+- {clock.spread_ms:.1f} ms; motion correlates by {clock.correlation:.2f}, {clock.channel}; "
        certainty += f"confidence {clock.confidence:.2f}"
    lines.append(f"offset   {registration.offset_ns / 1e6:.1f} ms, added to RGB stamps ({certainty})")
    lines.append(found.pairs.to_text())
    if alignment is not None:
        lines.append(
            f"homography from {registration.quality['pairs']:.0f} pairs: halves differ by {alignment.spread_px:.1f} px "
            f"at the frame's corners; score {alignment.score:.3f}, contrast {alignment.contrast:.2f}"
        )
    elif registration.how == "camera_info":
        left = registration.quality["distortion_left_px"]
        lines.append(f"homography of the CameraInfos; lens distortion leaves {left:.1f} px in the mean")
    else:
        lines.append("homography: identity")
    return lines


def _document(found: Registered) -> dict[str, Any]:
    registration, pairs = found.registration, found.pairs
    return {
        "thermal_topic": found.thermal_topic,
        "rgb_topic": found.rgb_topic,
        "how": registration.how,
        "homography": registration.homography.tolist(),
        "offset_ns": registration.offset_ns,
        "tolerance_ns": registration.tolerance_ns,
        "pairs": len(pairs),
        "median_difference_ms": pairs.median_difference_ms,
        **{
            name: {"left_over": stream.frames - len(pairs), **vars(stream)}
            for name, stream in (("thermal", pairs.thermal), ("rgb", pairs.rgb))
        },
        "quality": dict(registration.quality),
        "warnings": list(found.warnings),
    }
