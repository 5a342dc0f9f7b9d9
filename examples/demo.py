"""What `make demo` runs: train the default recipe on real handwritten digits, then count how many samples are digits.

    python examples/demo.py [--images 150000] [--minutes 2.2] [--out runs/demo]

A classifier trained on the real digits looks at 1,000 samples. Exits 1 if it is sure (> 0.9) of fewer than 70 %, or if
one of the ten digits never comes.
"""

import argparse
import sys
from pathlib import Path

import gansmith

NUM_SAMPLES, SURE, BAR = 1000, 0.9, 0.7

parser = argparse.ArgumentParser(description="Train on digits and judge the samples.")
parser.add_argument("--images", type=int, default=150_000)
parser.add_argument("--minutes", type=float, default=2.2, help="at most, however slow the machine")
parser.add_argument("--out", type=Path, default=Path("runs/demo"))
arguments = parser.parse_args()

run = gansmith.train("digits", images=arguments.images, minutes=arguments.minutes, out=arguments.out)

size, channels = run.recipe.size, run.recipe.channels
judge = gansmith.train_classifier(
    gansmith.open_data("digits", size, channels), gansmith.open_data("digits", size, channels, split="test")
)
probabilities = judge.probabilities(gansmith.sample(run.folder, NUM_SAMPLES, seed=1))
confidence, digits = probabilities.max(1)
counts = digits[confidence > SURE].bincount(minlength=10)
sure, seen = int(counts.sum()), int((counts > 0).sum())

print(f"a classifier that reads {judge.accuracy:.1%} of {judge.num_held_out} held-out digits right")
print(f"is sure of {sure} of {NUM_SAMPLES} samples and sees {seen} of the 10 digits:")
print("   ".join(f"{digit}: {count}" for digit, count in enumerate(counts.tolist())))
print(f"the pictures are in {arguments.out / 'samples'}; real ones in {arguments.out / 'reals.png'}")
print(f"now try:  .venv/bin/gansmith interpolate {arguments.out} --out walk.webp")
if judge.accuracy < 0.95 or sure < BAR * NUM_SAMPLES or seen < 10:
    sys.exit(f"below the bar: {BAR:.0%} sure, all ten digits, and a classifier that reads 95 % right")
