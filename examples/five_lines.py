"""The library in five lines: train, load, sample, save. `gansmith train` and `gansmith sample` do the same."""

import gansmith

run = gansmith.train("digits", images=10_000)
model = gansmith.load(run.folder)
samples = gansmith.sample(model, 64, seed=0)
gansmith.save_images(samples, "digits.png")
