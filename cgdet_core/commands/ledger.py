"""cgdet ledger: training runs as rows of a file, and what they say side by side."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgdet_core.commands.common import Subparsers, add_command, add_json_argument, print_or_write_json
from cgdet_core.errors import InputError

if TYPE_CHECKING:
    from cgdet_core.evaluation.ledger import Spread, Summary


TIME = "time"  # of a training crop, over the reference's


def add(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "ledger",
        "keep training runs as rows of a file, and compare recipes over seeds",
        "cgdet ledger add docs/ledger.jsonl baseline=runs/baseline_s0 rcs=runs/rcs_s0\n"
        "  cgdet ledger show docs/ledger.jsonl --against baseline",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    adding = add_command(
        actions,
        "add",
        "append finished runs that held blocks out, or were evaluated on a set that they never saw; of a run that is "
        "there already, the protocol that an older cgdet gave its row is put right",
        "cgdet ledger add docs/ledger.jsonl baseline=runs/baseline_s0 rcs=runs/rcs_s0\n"
        "  cgdet ledger add docs/ledger.jsonl start=runs/start_s0 --figures msrs.json",
    )
    adding.add_argument("ledger", type=Path, metavar="F.jsonl", help="made where it is missing")
    adding.add_argument("runs", nargs="+", metavar="NAME=DIR", help="a name for the recipe, and the run's folder")
    adding.add_argument(
        "--figures",
        metavar="F",
        help="file in each run's folder that `cgdet evaluate --json` wrote about its model on a set that it never saw "
        "(default: held_out.json, the run's own held-out blocks)",
    )
    adding.set_defaults(run=run_add)
    showing = add_command(
        actions,
        "show",
        "means over seeds, and differences from one recipe, seed by seed",
        "cgdet ledger show docs/ledger.jsonl --against baseline",
    )
    showing.add_argument("ledger", type=Path, metavar="F.jsonl")
    showing.add_argument(
        "--against", default="baseline", metavar="NAME", help="recipe to differ from (default: %(default)s)"
    )
    showing.add_argument("--protocol", metavar="HASH", help="only the rows of this protocol (default: all, one by one)")
    showing.add_argument(
        "--columns", nargs="+", metavar="NAME", help="only these, such as mAP50 night 'AP50 car' time (default: all)"
    )
    showing.add_argument(
        "--recipes", nargs="+", metavar="NAME", help="only these recipes, in this order (default: all)"
    )
    add_json_argument(showing, "means and differences")
    showing.set_defaults(run=run_show)


def run_add(arguments: argparse.Namespace) -> int:
    from cgdet_core.evaluation.ledger import read_ledger
    from cgdet_core.evaluation.look_log import append_line
    from cgdet_core.files import check_can_write, write_text

    check_can_write(arguments.ledger)
    known = read_ledger(arguments.ledger) if arguments.ledger.exists() else []
    rows = [_row(word, arguments.figures) for word in arguments.runs]
    # one model may be judged on several sets
    kept = {_identity(row): row for row in known}
    every = [*known]
    for row in rows:
        title = f"{row['name']} seed {row['seed']}"
        same = kept.setdefault(_identity(row), row)
        if same is row:
            every.append(row)
            append_line(arguments.ledger, json.dumps(row))
            print(f"{title}: mAP50 {row['figures']['map50']:.3f}, protocol {row['protocol']}")
        elif (same["protocol"], same.get("settings")) == (row["protocol"], row["settings"]):
            print(f"{title}: is in {arguments.ledger} already")
        else:
            print(
                f"{title}: is in {arguments.ledger} already, its protocol was {same['protocol']}, is {row['protocol']}"
            )
            same |= {"protocol": row["protocol"], "settings": row["settings"]}
            write_text(arguments.ledger, "".join(json.dumps(each) + "\n" for each in every))
    return 0


def _identity(row: Mapping[str, Any]) -> tuple[str, str | None]:
    return row["model_sha256"], row.get("judged_on")


def _row(word: str, figures_name: str | None) -> dict[str, Any]:
    from cgdet_core.evaluation.ledger import protocol_of, recipe_of_run, settings_of
    from cgdet_core.evaluation.look_log import commit_of
    from cgdet_core.files import sha256_of
    from cgdet_core.runtime.model_file import read_info

    name, equals, folder = word.partition("=")
    if not (name and equals and folder):
        raise InputError(f"'{word}': runs are given as NAME=DIR, such as rcs=runs/rcs_s0")
    out = Path(folder)
    model = out / "model.safetensors"
    whole_recipe = recipe_of_run(out)
    settings, recipe = settings_of(whole_recipe), whole_recipe.model_dump(mode="json")
    if figures_name is None:
        figures = _json(out / "held_out.json", "the run has held no block out, or has not ended")
        judged_on = None
    else:
        figures = _json(
            out / figures_name, f"write it with `cgdet evaluate --model {model} --json {out / figures_name}`"
        )
        judged_on = _foreign_set(out / figures_name, figures, model, [each["path"] for each in recipe["sources"]])
        figures["data"] = judged_on  # where the set lay is nobody's business
    speed = _json(out / "summary.json", "the run has not ended")
    init = read_info(model).training.get("init")
    return {
        "name": name,
        "seed": recipe["train"]["seed"],
        "protocol": protocol_of(settings, init, judged_on),
        "settings": settings,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit_of(Path.cwd()),
        "init": init,
        "images": recipe["train"]["images"],
        "judged_on": judged_on,
        "held_out": {
            source["path"]: source["hold_out_fold"]
            for source in recipe["sources"]
            if source["hold_out_fold"] is not None
        },
        "contrast": recipe["contrast"] if recipe["contrast"]["weight"] else None,
        # of guidance is the teacher of injection
        "guidance": recipe["guidance"] if whole_recipe.uses_teacher else None,
        "injection": recipe["injection"] if whole_recipe.injection.on else None,
        "images_per_second": speed.get("images_per_second"),
        "machine": f"{platform.machine()} {figures['device']}",
        "model_sha256": sha256_of(model),
        "figures": figures,
    }


def _foreign_set(path: Path, figures: dict[str, Any], model: Path, trained_on: list[str]) -> str:
    """The set, by folder and name, that `cgdet evaluate` wrote figures about; InputError where they judge nothing."""
    from cgdet_core.files import sha256_of

    if "data" not in figures or figures.get("model_sha256") != sha256_of(model):
        raise InputError(f"{path}: is not about {model}: run `cgdet evaluate --model {model} --json {path}` again")
    if figures.get("held_out"):
        raise InputError(f"{path}: is about {figures['held_out']}, held out of a run: leave out --figures")
    data = Path(figures["data"]).parts
    for source in trained_on:
        parts = Path(source).parts
        if data[-len(parts) :] == parts:
            raise InputError(f"{path}: is about {source}, which the run trains on: evaluate on a set that it never saw")
    return "/".join(data[-2:])


def _json(path: Path, without: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{path}: cannot be read: {without}") from None
    return found


def run_show(arguments: argparse.Namespace) -> int:
    from cgdet_core.evaluation.ledger import read_ledger, summarise
    from cgdet_core.evaluation.selection import describe_folds

    rows = read_ledger(arguments.ledger)
    if not rows:
        raise InputError(f"{arguments.ledger}: holds no row: add runs with `cgdet ledger add`")
    if arguments.protocol is not None:
        known = dict.fromkeys(row["protocol"] for row in rows)
        rows = [row for row in rows if row["protocol"] == arguments.protocol]
        if not rows:
            raise InputError(f"--protocol {arguments.protocol}: {arguments.ledger} has {', '.join(known)}")
    protocols = {
        protocol: _chosen(recipes, arguments.recipes)
        for protocol, recipes in summarise(rows, arguments.against).items()
    }
    if arguments.json is not None:
        summary = {key: [asdict(each) for each in recipes] for key, recipes in protocols.items()}
        print_or_write_json(summary, arguments.json)
    if arguments.json != "-":
        for protocol, recipes in protocols.items():
            row = next(row for row in rows if row["protocol"] == protocol)
            held = describe_folds(row["held_out"])
            judge = f"judged on {row['judged_on']}" if row.get("judged_on") else f"held out: {held}"
            print(f"protocol {protocol}: {row['images']} crops, start {row['init'] or 'none'}, {judge}")
            print(_table(recipes, arguments.against, arguments.columns))
            print()
    return 0


def _mean(spread: Spread) -> str:
    # one value has no spread: 0.000 would say that seeds do not matter
    return f"{spread.mean:.3f}" + (f" ± {spread.deviation:.3f}" if spread.count > 1 else "")


def _chosen(recipes: list[Summary], names: Sequence[str] | None) -> list[Summary]:
    if names is None:
        return recipes
    known = {each.name: each for each in recipes}
    for name in names:
        if name not in known:
            raise InputError(f"--recipes {name}: the protocol has {', '.join(known)}: choose of these")
    return [known[name] for name in names]


def _columns(recipes: list[Summary], chosen: Sequence[str] | None) -> list[str]:
    """The measures that all recipes have, and the time of training; of these the chosen ones, in their order."""
    from cgdet_core.evaluation.ledger import MEASURES

    classes = [name for name in recipes[0].measures if name.startswith("AP50 ")]
    columns = [*list(MEASURES)[:2], *classes, *list(MEASURES)[2:]]
    columns = [*(name for name in columns if all(name in each.measures for each in recipes)), TIME]
    for name in chosen or ():
        if name not in columns:
            raise InputError(f"--columns {name}: the rows have {', '.join(columns)}: choose of these")
    return list(chosen or columns)


def _table(recipes: list[Summary], against: str, chosen: Sequence[str] | None) -> str:
    """Markdown: means over seeds with their spread, then the paired differences with their standard errors."""
    from cgdet_core.evaluation.ledger import LESS_IS_BETTER

    columns = _columns(recipes, chosen)
    heads = [f"{name} ↓" if name in {*LESS_IS_BETTER, TIME} else name for name in columns]
    lines = ["| recipe | seeds | " + " | ".join(heads) + " |", "|---" * (len(columns) + 2) + "|"]
    for each in recipes:
        time = "" if each.step_ratio is None else f"{each.step_ratio:.2f}"
        cells = [time if name == TIME else _mean(each.measures[name]) for name in columns]
        lines.append(f"| {each.name} | {' '.join(map(str, each.seeds))} | " + " | ".join(cells) + " |")
    for each in recipes:
        if not each.differences:
            continue
        shared = next(iter(each.differences.values())).count
        cells = []
        for name in columns:
            spread = each.differences.get(name)
            error = "" if spread is None or spread.count < 2 else f" ± {spread.error:.3f}"
            cells.append("" if spread is None else f"{spread.mean:+.3f}{error}")
        lines.append(f"| {each.name} − {against} | {shared} shared | " + " | ".join(cells) + " |")
    return "\n".join(lines)
