"""A search with Optuna, where a grid would be too large: it goes where good settings are, and leaves poor ones early.

    pip install optuna && python examples/optuna_search.py --data ../shared/data/mnist.zip --trials 30

Each trial trains in stages; the same `train` call with more images goes on where it was, so a trial that looks poor
after a stage is left. Typed again, the search goes on: its trials are in search/trials.db. What is found is the best of
many noisy numbers and so flattered: train the first few again, with other seeds, before believing it (docs/sweep.md).
"""

import argparse
from pathlib import Path

import optuna

import gansmith
from gansmith.errors import DivergedError

parser = argparse.ArgumentParser(description="Search for loss, rate and penalty with Optuna.")
parser.add_argument("--data", default="digits")
parser.add_argument("--recipe", default="dcgan-small")  # not auto, which would choose again by the images of a stage
parser.add_argument("--trials", type=int, default=20)
parser.add_argument("--images", type=int, default=20_000)
parser.add_argument("--samples", type=int, default=5_000)
parser.add_argument("--stages", type=int, default=4)
parser.add_argument("--out", type=Path, default=Path("search"))
arguments = parser.parse_args()


def distance(trial: optuna.Trial) -> float:
    rate = trial.suggest_float("rate", 1e-4, 5e-3, log=True)
    overrides = [
        f"loss={trial.suggest_categorical('loss', ['hinge', 'relativistic', 'non_saturating'])}",
        f"generator_optimizer.learning_rate={rate}",
        f"discriminator_optimizer.learning_rate={rate * trial.suggest_float('rate_ratio', 0.5, 4.0, log=True)}",
        f"penalties.r1.weight={trial.suggest_float('gamma', 0.005, 5.0, log=True)}",
        "penalties.r1.every=16",
    ]
    folder = arguments.out / f"trial-{trial.number:03d}"
    for stage in range(1, arguments.stages + 1):
        images = arguments.images * stage // arguments.stages
        try:
            gansmith.train(arguments.data, arguments.recipe, overrides=overrides, images=images, out=folder, quiet=True)
        except DivergedError as error:
            raise optuna.TrialPruned(str(error)) from error
        (score,) = gansmith.evaluate(folder, scores=["fd"], num_samples=arguments.samples).report.scores
        if score.value is None:
            raise SystemExit(f"{folder}: no {score.name}: {score.reason}")
        trial.report(score.value, images)
        if stage < arguments.stages and trial.should_prune():
            raise optuna.TrialPruned
    return score.value


arguments.out.mkdir(parents=True, exist_ok=True)
storage = f"sqlite:///{arguments.out / 'trials.db'}"
pruner = optuna.pruners.MedianPruner(n_startup_trials=5)
study = optuna.create_study(study_name="gansmith", storage=storage, load_if_exists=True, pruner=pruner)
study.sampler = optuna.samplers.TPESampler(seed=len(study.trials))  # its state is not stored: 0 would repeat the first
study.optimize(distance, n_trials=arguments.trials)
print(f"best of {len(study.trials)}: {study.best_trial.number}, fd {study.best_value:.1f}, {study.best_params}")
