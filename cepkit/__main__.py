"""Command line: ``python -m cepkit generate|train|evaluate --profile laptop``."""

import argparse
import json
import sys

from cepkit.profiles import PROFILES


def generate(profile, track="fixed"):
    """Make the data of a track, or find them made, and write their card."""
    from cepkit import bench
    from cepkit.store import data_folder, replace_file

    card = bench.make_track(track, profile).data_card()
    for name, part in card["parts"].items():
        print(f"{name}: {sum(part['frames'])} frames in {part['runs']} runs, hashes {' '.join(part['data_hash'])}")
    file = data_folder() / "cards" / f"{track}-{profile}.json"
    replace_file(file, (json.dumps(card, indent=1) + "\n").encode())
    print(file)
    return card


def train(profile):
    """Train the models of a profile, or find them trained."""
    from cepkit.runs import trained

    return [trained(name, profile) for name in ("lstm", "neural_ode")]


def evaluate(profile, track="fixed", model=None, seeds=None):
    """Run models free from the same histories of a track's tests and print their scores."""
    from cepkit import bench

    names = bench.ENTRANTS if model is None else model
    table = bench.scorecard(bench.make_track(track, profile), names, seeds)
    print(f"\ntrack {track}, profile {profile}: medians over starts; the whole table, intervals included, is in")
    print(bench.record(table, track, profile, model))
    for metric, variables in (("z_mse", ("Vm", "Cai", "CaSR", "CaSS")), ("mse_published", ("Vm",))):
        for variable in variables:
            part = bench.pivot(table, metric, variable)
            print(f"\n{metric} {variable}\n{part.to_string(float_format='{:.3g}'.format, na_rep='-')}")
    for metric in ("activation_error", "apd90_error", "missed", "spurious"):
        part = bench.pivot(table, metric, "")
        print(f"\n{metric}\n{part.to_string(float_format='{:.3g}'.format, na_rep='-')}")
    price = table[table.test == "cost"].pivot(index="model", columns="metric", values="value")
    if len(price):
        print(f"\ncost: beats in ms, training in s\n{price.to_string(float_format='{:.4g}'.format, na_rep='-')}")
    for row in table[table.metric.str.startswith("failed")].itertuples():
        print(f"{row.model}: {row.metric}")
    return table


def main(arguments=None):
    """Parse the command line and run one command."""
    parser = argparse.ArgumentParser("python -m cepkit", description="What the book does, without a notebook.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="generate|train|evaluate")
    for command in (generate, train, evaluate):
        one = commands.add_parser(command.__name__, help=command.__doc__, description=command.__doc__)
        one.add_argument("--profile", default="laptop", choices=list(PROFILES), help="size of the run (laptop)")
        one.set_defaults(run=command)
        if command in (generate, evaluate):
            one.add_argument("--track", default="fixed", choices=("fixed", "paced", "cell"), help="the data (fixed)")
        if command is evaluate:
            one.add_argument("--seeds", type=int, help="trainings of each model (1; on the track paced 5)")
            one.add_argument(
                "--model", action="append", metavar="NAME", help="one row only: a name, or mypackage.module:MyModel"
            )
    options = vars(parser.parse_args(arguments))
    command = options.pop("run")
    options.pop("command")
    try:
        command(**options)
    except ValueError as error:
        sys.exit(f"cepkit: {error}")


if __name__ == "__main__":
    main()
