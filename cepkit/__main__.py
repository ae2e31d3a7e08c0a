"""Command line: ``python -m cepkit generate|train|evaluate --profile laptop``."""

import argparse
import sys

from .profiles import PROFILES, get_profile


def generate(profile):
    """Make the golden standard, or find it made."""
    from .store import golden_standard

    golden = golden_standard(profile)
    print(f"golden standard: {golden.sizes['time']} frames, data hash {golden.attrs['data_hash']}")
    return golden


def train(profile):
    """Train the models of a profile, or find them trained."""
    from .training import trained

    return [trained(name, profile) for name in ("lstm", "neural_ode")]


def evaluate(profile):
    """Run all models free from the same histories of the test part and print the medians of their scores."""
    from . import surrogates
    from .dataset import Scaling, split
    from .forecast import clock, draw_starts, histories
    from .scores import score

    size = get_profile(profile)
    past, test = split(generate(profile), size.fraction)
    models = [surrogates.make(name).fit(past) for name in ("persistence", "last_beat", "climatology")]
    for name in ("lstm", "neural_ode"):
        try:
            models.append(surrogates.load(name, run=profile))
        except ValueError:
            models.append(surrogates.load(name))
        print(f"{name}: {models[-1].summary()}")
    starts = draw_starts(test, size.starts, size.warmup, size.steps, size.seed)
    given = histories(test, starts, size.warmup)
    forecasts = {model.name: model.rollout(given, size.steps) for model in models}
    table = score(forecasts, test, Scaling.fit(past)).median("start")
    table["ms"] = ("model", [clock(model, given.isel(start=[0]), size.steps)["median"] for model in models])
    print(f"\nprofile {profile}: medians over {size.starts} starts, {size.warmup} frames given, {size.steps} forecast")
    for name in ("mse_published", "z_mse", "rmse"):
        print(f"\n{name}\n{table[name].to_pandas().to_string(float_format='{:.4g}'.format)}")
    print(f"\ntime of one forecast [ms]\n{table.ms.to_pandas().to_string(float_format='{:.1f}'.format)}")
    return table


def main(arguments=None):
    """Parse the command line and run one command."""
    parser = argparse.ArgumentParser("python -m cepkit", description="What the book does, without a notebook.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="generate|train|evaluate")
    for command in (generate, train, evaluate):
        one = commands.add_parser(command.__name__, help=command.__doc__, description=command.__doc__)
        one.add_argument("--profile", default="laptop", choices=list(PROFILES), help="size of the run (laptop)")
        one.set_defaults(run=command)
    options = parser.parse_args(arguments)
    try:
        options.run(options.profile)
    except ValueError as error:
        sys.exit(f"cepkit: {error}")


if __name__ == "__main__":
    main()
