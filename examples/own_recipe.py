"""Change the method, not the code: compare two losses on the same networks, data, seed and number of images."""

import argparse

import gansmith
from gansmith.recipe import PenaltySettings
from gansmith.recipes import dcgan_small

parser = argparse.ArgumentParser(description="Compare two recipes.")
parser.add_argument("--images", type=int, default=30_000)
arguments = parser.parse_args()

hinge = dcgan_small()
paired = hinge.replace(loss="relativistic", penalties={"r1": PenaltySettings(weight=0.1, every=16)})

for name, recipe in {"hinge": hinge, "relativistic": paired}.items():
    run = gansmith.train("digits", recipe, images=arguments.images, out=f"runs/own-{name}")
    gansmith.save_images(gansmith.sample(run.folder, 64), f"{name}.png")
    print(f"{name}.png: recipe {recipe.id}, {run.images_seen:,} images in {run.seconds:.0f} s")
