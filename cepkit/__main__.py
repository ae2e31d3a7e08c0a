"""Command line: ``python -m cepkit generate|train|evaluate --profile laptop``."""

import argparse
import json

from cepkit import bench, surrogates
from cepkit.bench.metrics import METRICS
from cepkit.bench.tissues import WAVES
from cepkit.fields import VARIABLES
from cepkit.profiles import PROFILES
from cepkit.runs import trained
from cepkit.store import data_folder, replace_file

#: What is printed of a scorecard: metrics and their variables.
SHOWN = {"z_mse": VARIABLES, "mse_published": ("Vm",)}
SHOWN |= dict.fromkeys(("activation_error", "apd90_error", "missed", "spurious"), ("",))
SHOWN |= dict.fromkeys(("wrong starts", "failed starts", "failed seeds", *WAVES), ("",))  # most in per cent


def generate(profile, track="fixed"):
    """Make the data of a track, or find them made, and write their card."""
    card = bench.make_track(track, profile).data_card()
    for name, part in card["parts"].items():
        print(f"{name}: {sum(part['frames'])} frames in {part['runs']} runs, hashes {' '.join(part['data_hash'])}")
    file = data_folder() / "cards" / f"{track}-{profile}.json"
    replace_file(file, (json.dumps(card, indent=1) + "\n").encode())
    print(file)


def train(profile):
    """Train the models of a profile, or find them trained."""
    for name in ("lstm", "neural_ode"):
        trained(name, profile)


def evaluate(profile, track="fixed", model=None, seeds=None, metric=None, force=False):
    """Run models free from the same histories of a track's tests and print their scores."""
    for name in model or ():
        surrogates.kind_of(name)  # a wrong name is refused before anything is simulated
    made = bench.make_track(track, profile)
    table = bench.scorecard(made, model, seeds, force=force)
    print(f"\ntrack {track}, profile {profile}: medians over starts; the whole table, intervals included, is in")
    print(bench.record(table, made, model))
    form = {"float_format": lambda value: "failed" if value == float("inf") else f"{value:.3g}", "na_rep": "-"}
    for name in metric or [name for name in SHOWN if name in set(table.metric)]:
        for variable in SHOWN.get(name) or METRICS[name].variables:
            part = bench.pivot(table, name, variable)
            print(f"\n{name} {variable}".rstrip(), part.to_string(**form), sep="\n")
    price = table[table.test == "cost"].pivot(index="model", columns="metric", values="value")
    if len(price):
        print(f"\ncost: beats in ms, training in s\n{price.to_string(float_format='{:.4g}'.format, na_rep='-')}")
    for row in table[table.test == "all"].itertuples():
        print(f"{row.model}: {row.metric}")
    if failed := bench.failed(table):
        raise ValueError(f"{', '.join(failed)} failed: no error is a number")


def main(arguments=None):
    """Parse the command line and run one command."""
    parser = argparse.ArgumentParser("python -m cepkit", description="What the book does, without a notebook.")
    commands = parser.add_subparsers(required=True, metavar="generate|train|evaluate")
    for command in (generate, train, evaluate):
        one = commands.add_parser(command.__name__, help=command.__doc__, description=command.__doc__)
        one.add_argument("--profile", default="laptop", choices=list(PROFILES), help="size of the run (laptop)")
        one.set_defaults(run=command)
        if command is not train:
            one.add_argument("--track", default="fixed", help=f"the data: {', '.join(bench.TRACKS)} (fixed)")
    one.add_argument("--seeds", type=int, help="trainings of each model (1; on the track paced 3)")
    one.add_argument("--model", action="append", metavar="NAME", help="one row: a name, or mypackage.module:MyModel")
    one.add_argument("--metric", action="append", choices=list(METRICS), metavar="NAME", help="one to print")
    one.add_argument("--force", action="store_true", help="score again what was scored before")
    options = vars(parser.parse_args(arguments))
    try:
        options.pop("run")(**options)
    except (ValueError, OSError) as error:
        raise SystemExit(f"cepkit: {error}") from error


if __name__ == "__main__":
    main()
