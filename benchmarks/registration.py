"""How well `cgdet bag register` finds offset and homography: bags of known ones, made, registered and compared.

    python benchmarks/registration.py --data msrs/thermal_train.json --cases 10 --json registration.json

Three kinds of bag. **street**: the synthetic street, true video; the RGB camera looks through a random homography, both
keep their own pace. **pairs**: a virtual camera that sways over the registered pairs of a COCO set, by day and by
night. **dark**: the pairs by night with the RGB camera's light cut to a twentieth, to be refused. The clocks differ by
up to 1.5 s, 8 % of the frames of each stream are lost.

Corner error: the mean distance of the thermal frame's four corners, mapped to RGB by the true homography and back by
the one found. Against the truth this holds the set's own misregistration too; `to_best_px` is the distance to what the
same estimator finds when it starts from the truth with the set's own pixels.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from cgdet_core.config import BagConfig, RegisterConfig, SyntheticConfig
from cgdet_core.data.bags.write import BagWriter
from cgdet_core.data.registration.align import corner_distance_px, refine_from
from cgdet_core.data.registration.pictures import grey_pairs
from cgdet_core.data.registration.register import Registered, register_bag
from cgdet_core.data.sets.coco import load_coco
from cgdet_core.data.synthetic.pan import Pan, make_pan_bag, random_homography
from cgdet_core.errors import InputError
from cgdet_core.images import encode_jpeg
from cgdet_core.thermal import to_grey

_LOST = 0.08
_DARK = 0.05
_STREET_FPS = 20.0
_STREET_SECONDS = 14.0


@dataclass
class Case:
    """One bag and what came of it; errors are None where it was refused."""

    kind: str
    light: str
    seed: int
    thermal_hz: float
    rgb_hz: float
    refused: str | None = None
    offset_error_ms: float | None = None
    offset_spread_ms: float | None = None
    corner_error_px: float | None = None
    to_best_px: float | None = None
    spread_px: float | None = None
    score: float | None = None
    contrast: float | None = None
    pairs: int | None = None
    cpu_s: float = 0.0


def judge(case: Case, bag: Path, homography: np.ndarray, offset_ns: int) -> Case:
    begin = time.process_time()
    try:
        found = register_bag(bag, RegisterConfig(), progress=False)
    except InputError as error:
        case.refused = str(error).partition(": ")[2]
        case.cpu_s = time.process_time() - begin
        return case
    case.cpu_s = time.process_time() - begin
    return _compared(case, found, homography, offset_ns)


def _compared(case: Case, found: Registered, homography: np.ndarray, offset_ns: int) -> Case:
    thermal_px = found.registration.thermal_height_width_px
    estimate = found.registration.homography
    case.offset_error_ms = (found.registration.offset_ns - offset_ns) / 1e6
    case.corner_error_px = corner_distance_px(estimate, homography, thermal_px)
    case.to_best_px = corner_distance_px(estimate, refine_from(grey_pairs(found.chosen), homography), thermal_px)
    case.offset_spread_ms = found.registration.quality["offset_spread_ms"]
    case.spread_px = found.registration.quality["spread_px"]
    case.score = found.registration.quality["score"]
    case.contrast = found.registration.quality["contrast"]
    case.pairs = len(found.pairs)
    return case


def pair_cases(data: Path, kind: str, light: str, cases: int, folder: Path) -> Iterator[Case]:
    coco = load_coco(data)
    of_light = [place for place, record in enumerate(coco.records) if record.rgb_path and record.light == light]
    for seed in range(cases):
        rng = np.random.default_rng((seed, light == "night"))
        first = int(rng.integers(0, len(of_light) - 3))
        shots = []
        for place in of_light[first : first + 3]:
            sample = coco.sample(place, with_rgb=True)
            assert sample.rgb is not None
            rgb = sample.rgb if kind == "pairs" else (sample.rgb * _DARK).astype(np.uint8)
            shots.append((to_grey(sample.frame.image), rgb))
        pan = Pan(np.eye(3), seconds_per_shot=4.0, drop=_LOST, seed=seed)
        homography = random_homography(rng, pan.thermal_height_width_px, pan.rgb_height_width_px)
        thermal_hz, rgb_hz = ((15, 15), (15, 10), (9, 15))[seed % 3]
        offset_ns = round(rng.uniform(-1.5e9, 1.5e9))
        pan = replace(pan, homography=homography, offset_ns=offset_ns, thermal_hz=thermal_hz, rgb_hz=rgb_hz)
        bag = folder / f"{kind}-{light}-{seed}"
        make_pan_bag(bag, shots, pan)
        yield judge(Case(kind, light, seed, thermal_hz, rgb_hz), bag, homography, offset_ns)


def street_cases(light: str, cases: int, folder: Path) -> Iterator[Case]:
    from cgdet_core.data.synthetic.scenes import SyntheticStreet

    settings = SyntheticConfig(light=light, frames_per_second=_STREET_FPS)
    street = SyntheticStreet(7 if light == "day" else 8, settings)
    frames = [street.sample(index) for index in range(round(_STREET_SECONDS * _STREET_FPS))]
    config = BagConfig()
    thermal_px, rgb_px = (384, 480), (384, 512)
    height, width = frames[0].frame.height_width_px
    top, left = (height - thermal_px[0]) // 2, (width - thermal_px[1]) // 2
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    for seed in range(cases):
        rng = np.random.default_rng((seed, light == "night", 1))
        homography = random_homography(rng, thermal_px, rgb_px, wider=(1.05, 1.2))
        offset_ns = round(rng.uniform(-1.5e9, 1.5e9))
        to_frame = np.array([[1, 0, left], [0, 1, top], [0, 0, 1]]) @ homography
        centres = np.linalg.inv(half) @ to_frame @ half
        every, phase = ((2, 1), (3, 1), (3, 2))[seed % 3]
        bag = folder / f"street-{light}-{seed}"
        with BagWriter(bag) as writer:
            for index, sample in enumerate(frames):
                assert sample.rgb is not None
                stamp_ns = config.start_stamp_ns + round(index * 1e9 / _STREET_FPS)
                if index % 2 == 0 and rng.random() >= _LOST:
                    thermal = to_grey(sample.frame.image)[top : top + thermal_px[0], left : left + thermal_px[1]]
                    writer.image(config.thermal_topic, thermal, stamp_ns, config.thermal_frame_id)
                if index % every == phase and rng.random() >= _LOST:
                    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
                    rgb = cv2.warpPerspective(sample.rgb, centres, rgb_px[::-1], flags=flags)
                    data = encode_jpeg(rgb, config.jpeg_quality)
                    topic = f"{config.rgb_topic}/compressed"
                    writer.compressed_image(topic, data, "jpeg", stamp_ns - offset_ns, config.rgb_frame_id)
        yield judge(Case("street", light, seed, _STREET_FPS / 2, _STREET_FPS / every), bag, homography, offset_ns)


def table(cases: list[Case]) -> str:
    lines = [
        "| bags | found | offset error ms: median, worst | in frame intervals, worst | corner error px: median, worst "
        "| to the best homography px: median, worst |",
        "|---|---|---|---|---|---|",
    ]
    for kind, light in dict.fromkeys((case.kind, case.light) for case in cases):
        of_kind = [case for case in cases if (case.kind, case.light) == (kind, light)]
        found = [case for case in of_kind if case.refused is None]
        words = [f"{kind}, {light}", f"{len(found)} of {len(of_kind)}"]
        if found:
            offsets = np.abs([case.offset_error_ms or 0.0 for case in found])
            intervals = [abs(case.offset_error_ms or 0.0) * min(case.thermal_hz, case.rgb_hz) / 1000 for case in found]
            corners = [case.corner_error_px or 0.0 for case in found]
            best = [case.to_best_px or 0.0 for case in found]
            words.append(f"{np.median(offsets):.1f}, {offsets.max():.1f}")
            words.append(f"{max(intervals):.2f}")
            words += [f"{np.median(values):.1f}, {max(values):.1f}" for values in (corners, best)]
        else:
            words += ["-"] * 4
        lines.append("| " + " | ".join(words) + " |")
    return "\n".join(lines)


def in_turns(sources: list[Iterator[Case]]) -> Iterator[Case]:
    while sources:
        for source in list(sources):
            case = next(source, None)
            if case is None:
                sources.remove(source)
            else:
                yield case


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="COCO JSON with rgb_file_name and light; without it streets only")
    parser.add_argument("--cases", type=int, default=10, help="of each kind and light (default: 10)")
    parser.add_argument("--street-cases", type=int, help="(default: as --cases)")
    parser.add_argument("--json", type=Path, metavar="F", help="every case")
    arguments = parser.parse_args()
    street = arguments.cases if arguments.street_cases is None else arguments.street_cases
    cases: list[Case] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources: list[Iterator[Case]] = []
        if arguments.data is not None:
            sources += [
                pair_cases(arguments.data, "pairs", light, arguments.cases, folder) for light in ("day", "night")
            ]
            sources.append(pair_cases(arguments.data, "dark", "night", max(1, arguments.cases // 4), folder))
        sources += [street_cases(light, street, folder) for light in ("day", "night") if street]
        # in turns, so that a run cut short tells something of each
        for case in in_turns(sources):
            cases.append(case)
            print(json.dumps({key: value for key, value in asdict(case).items() if value is not None}), flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps([asdict(each) for each in cases], indent=1) + "\n")
    print(table(cases))


if __name__ == "__main__":
    main()
