"""cgdet bag register: by how much the clocks differ and where RGB pixels lie in the thermal frame."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgdet_core.commands.common import Subparsers, add_command, add_json_argument, check_json_place, print_or_write_json
from cgdet_core.errors import InputError
from cgdet_core.files import check_can_write, replacing

if TYPE_CHECKING:
    from cgdet_core.data.registration.register import Registered


def add(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "register",
        "find the clocks' offset and the homography of a bag's RGB and thermal cameras",
        "cgdet bag register drive --out registration.yaml --preview preview.png\n"
        "  cgdet bag register drive --out registration.yaml --camera-info --extrinsic mount.yaml",
    )
    parser.add_argument("bag", type=Path, metavar="BAG", help="rosbag2 folder, or a ROS 1 bag")
    parser.add_argument("--out", type=Path, required=True, metavar="F", help="registration to write (YAML)")
    parser.add_argument("--preview", type=Path, metavar="F", help="blended picture of three pairs to write (PNG)")
    parser.add_argument("--thermal-topic", metavar="T", help="image topic (default: the most thermal-looking one)")
    parser.add_argument("--rgb-topic", metavar="T", help="image topic (default: the only or best one in colour)")
    parser.add_argument("--start", type=float, default=0.0, metavar="S", help="seconds of the bag to leave out")
    parser.add_argument("--seconds", type=float, metavar="S", help="of the bag to look at (default: all)")
    parser.add_argument("--offset", type=float, metavar="S", help="known: added to RGB stamps gives the thermal clock")
    parser.add_argument("--tolerance", type=float, metavar="S", help="of a pair (default: half a period)")
    known = parser.add_mutually_exclusive_group()
    known.add_argument("--camera-info", action="store_true", help="homography of CameraInfos and --extrinsic")
    known.add_argument("--identity", action="store_true", help="the pictures are registered already")
    parser.add_argument("--extrinsic", type=Path, metavar="F", help="YAML: rotation, translation_m, plane_distance_m")
    parser.add_argument("--thermal-info-topic", metavar="T", help="(default: camera_info beside the images)")
    parser.add_argument("--rgb-info-topic", metavar="T", help="(default: camera_info beside the images)")
    add_json_argument(parser)
    parser.add_argument(
        "settings", nargs="*", default=[], metavar="key=value", help="settings of the search, such as max_offset_s=5"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from cgdet_core.config import RegisterConfig, settings_from_words
    from cgdet_core.data.registration.homography import save_registration
    from cgdet_core.data.registration.pictures import TimeWindow
    from cgdet_core.data.registration.register import RegisterWanted, register_bag

    if arguments.camera_info != (arguments.extrinsic is not None):
        raise InputError("--camera-info and --extrinsic go together: the one says where lenses point, the other how")
    if not arguments.camera_info and (arguments.thermal_info_topic or arguments.rgb_info_topic):
        raise InputError("--thermal-info-topic and --rgb-info-topic go with --camera-info and --extrinsic")
    for name, least in (("start", 0.0), ("seconds", 1e-3), ("offset", -math.inf), ("tolerance", 0.0)):
        value = getattr(arguments, name)
        if value is not None and not (math.isfinite(value) and value >= least):
            raise InputError(f"--{name} {value}: give seconds" + (f", {least:g} or more" if least > -math.inf else ""))
    config = settings_from_words(RegisterConfig, arguments.settings, "cgdet bag register")
    check_can_write(arguments.out)
    check_json_place(arguments.json)
    if arguments.preview is not None:
        check_can_write(arguments.preview)
    wanted = RegisterWanted(
        thermal_topic=arguments.thermal_topic,
        rgb_topic=arguments.rgb_topic,
        window=TimeWindow(arguments.start, arguments.seconds),
        offset_ns=_nanoseconds(arguments.offset),
        tolerance_ns=_nanoseconds(arguments.tolerance),
        identity=arguments.identity,
        extrinsic=arguments.extrinsic,
        thermal_info_topic=arguments.thermal_info_topic,
        rgb_info_topic=arguments.rgb_info_topic,
    )
    found = register_bag(arguments.bag, wanted, config)
    if arguments.preview is not None:
        _write_preview(arguments.preview, found)
    save_registration(arguments.out, found.registration)
    if arguments.json != "-":
        print("\n".join(_lines(found)))
        print(f"registration: {arguments.out}")
    print_or_write_json(_document(found), arguments.json)
    for warning in found.warnings:
        print(f"cgdet: warning: {warning}", file=sys.stderr)
    return 0


def _nanoseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e9)


def _write_preview(path: Path, found: Registered) -> None:
    import cv2

    from cgdet_core.data.registration.preview import preview

    picture = preview(found.chosen[:: max(1, len(found.chosen) // 3)][:3], found.registration)
    _, encoded = cv2.imencode(".png", picture[:, :, ::-1])
    with replacing(path) as partial:
        partial.write_bytes(encoded.tobytes())


def _lines(found: Registered) -> list[str]:
    registration, clock, alignment = found.registration, found.clock, found.alignment
    lines = [f"thermal  {found.thermal_topic}", f"RGB      {found.rgb_topic}"]
    offset = f"offset   {registration.offset_ns / 1e6:.1f} ms, added to RGB stamps"
    if clock is None:
        lines.append(f"{offset} (given)")
    else:
        lines.append(
            f"{offset} (+- {clock.spread_ms:.1f} ms; motion correlates by {clock.correlation:.2f}, {clock.channel}; "
            f"confidence {clock.confidence:.2f})"
        )
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
            name: {
                "frames": stream.count,
                "left_over": stream.count - len(pairs),
                "rate_hz": stream.rate_hz,
                "dropped": stream.dropped,
                "repeated_stamps": stream.repeated,
                "stamps_backwards": stream.backwards,
            }
            for name, stream in (("thermal", pairs.thermal), ("rgb", pairs.rgb))
        },
        "quality": dict(registration.quality),
        "warnings": list(found.warnings),
    }
