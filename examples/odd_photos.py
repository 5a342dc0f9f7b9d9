"""Makes a folder of 40 good photos and six odd ones, to see what `gansmith data` says and `gansmith train` does.

    python examples/odd_photos.py photos && gansmith data photos && gansmith train photos --images 2k

A photo here is a handwritten digit on a card, lit from one side, in front of a coloured wall.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

import gansmith

NUM_GOOD = 40
DIGITS = gansmith.open_data("digits", (28, 28), 1).images


def photo(seed: int, height: int, width: int) -> Image.Image:
    """Return an RGB photo of one digit; what it shows is a function of the seed."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    angle = random.uniform(0, 2 * np.pi)
    light = 0.75 + 0.25 * (np.cos(angle) * rows + np.sin(angle) * columns)[:, :, None]
    wall, card, ink = random.uniform(60, 160, 3), random.uniform(190, 255, 3), random.uniform(0, 90, 3)
    picture = np.broadcast_to(wall, (height, width, 3)).copy()
    side = int(min(height, width) * random.uniform(0.6, 0.9))
    top, left = random.integers(0, height - side + 1), random.integers(0, width - side + 1)
    digit = Image.fromarray(DIGITS[random.integers(len(DIGITS)), 0]).resize((side, side), Image.Resampling.BICUBIC)
    shade = np.asarray(digit)[:, :, None] / 255
    picture[top : top + side, left : left + side] = card * (1 - shade) + ink * shade
    picture = picture * light + random.normal(0, 3, picture.shape)
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


parser = argparse.ArgumentParser(description="Make a folder of good and odd photos.")
parser.add_argument("folder", type=Path)
folder = parser.parse_args().folder
folder.mkdir(parents=True, exist_ok=True)

for number in range(NUM_GOOD):
    photo(number, 96 + 8 * (number % 5), 96 + 16 * (number % 4)).save(folder / f"photo{number:02d}.jpg", quality=92)
print(f"{folder}: {NUM_GOOD} good photos")

whole = (folder / "photo00.jpg").read_bytes()
(folder / "broken.jpg").write_bytes(whole[: len(whole) // 2])
photo(100, 96, 96).convert("CMYK").save(folder / "print.jpg")
Image.fromarray(np.asarray(photo(101, 96, 96).convert("L"), np.uint16) * 257).save(folder / "scan.png")
cut_out = photo(102, 96, 96)
cut_out.putalpha(Image.radial_gradient("L").resize(cut_out.size).point(lambda distance: 255 - distance))
cut_out.save(folder / "icon.png")
turned = Image.Exif()
turned[0x0112] = 6  # turn it to the right to see it upright
photo(103, 160, 96).transpose(Image.Transpose.ROTATE_90).save(folder / "IMG_0001.jpg", exif=turned)
photo(104, 120, 120).save(folder / "smile 😀.jpg")
print("broken.jpg (cut off), print.jpg (CMYK), scan.png (16-bit), icon.png (transparent), IMG_0001.jpg (EXIF-turned),")
print("and 'smile 😀.jpg'")
