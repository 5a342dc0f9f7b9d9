from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from gansmith.images import save_animation, save_grid, save_images, tile, to_float, to_pillow, to_pixels, to_uint8


def samples(count: int = 5, channels: int = 1, height: int = 6, width: int = 4) -> torch.Tensor:
    """Different images whose values are exact in uint8."""
    random = torch.Generator().manual_seed(0)
    return to_float(torch.randint(0, 256, (count, channels, height, width), generator=random, dtype=torch.uint8))


def read(file) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture)


def test_all_256_levels_survive_the_way_to_float_and_back():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(levels)), levels)


def test_levels_are_spread_evenly_over_minus_one_to_one():
    levels = to_float(torch.arange(256, dtype=torch.uint8))
    assert levels.dtype == torch.float32
    assert (levels[0], levels[-1]) == (-1.0, 1.0)
    torch.testing.assert_close(levels, torch.linspace(-1, 1, 256), atol=1e-6, rtol=0)


def test_values_are_rounded_to_the_nearest_level():
    just_off = to_float(torch.arange(256, dtype=torch.uint8)) + 0.49 / 127.5
    assert torch.equal(to_uint8(just_off), torch.arange(256, dtype=torch.uint8))


def test_values_outside_the_range_are_clamped():
    assert to_uint8(torch.tensor([-5.0, -1.001, 1.001, 300.0])).tolist() == [0, 0, 255, 255]


def test_conversions_leave_their_argument_alone():
    pixels, floats = torch.tensor([3, 200], dtype=torch.uint8), torch.tensor([-0.5, 0.5])
    to_float(pixels), to_uint8(floats)
    assert pixels.tolist() == [3, 200] and floats.tolist() == [-0.5, 0.5]


def test_pixels_have_channels_last():
    images = samples(2, 3)
    pixels = to_pixels(images)
    assert (pixels.shape, pixels.dtype) == ((2, 6, 4, 3), np.uint8)
    assert np.array_equal(pixels[1, 2, 3], to_uint8(images)[1, :, 2, 3].numpy())


@pytest.mark.parametrize(
    ("channels", "mode", "size"), [(1, "L", (4, 6)), (3, "RGB", (4, 6)), (4, "RGBA", (4, 6)), (2, "L", (8, 6))]
)
def test_channel_counts_choose_the_mode(channels, mode, size):
    picture = to_pillow(to_pixels(samples(1, channels))[0])
    assert (picture.mode, picture.size) == (mode, size)


def test_other_channel_counts_are_shown_side_by_side():
    pixels = to_pixels(samples(1, 2))[0]
    picture = np.asarray(to_pillow(pixels))
    assert np.array_equal(picture, np.concatenate([pixels[:, :, 0], pixels[:, :, 1]], axis=1))


def test_tiles_are_in_reading_order_with_white_gaps_of_two_pixels():
    pixels = np.stack([np.full((6, 4, 1), level, np.uint8) for level in (10, 20, 30, 40, 50)])
    picture = tile(pixels, columns=3)
    assert picture.shape == (2 + 2 * (6 + 2), 2 + 3 * (4 + 2), 1)
    expected = np.full_like(picture, 255)
    for level, (top, left) in zip((10, 20, 30, 40, 50), [(2, 2), (2, 8), (2, 14), (10, 2), (10, 8)], strict=True):
        expected[top : top + 6, left : left + 4] = level
    assert np.array_equal(picture, expected)


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (2, 1, 2), (4, 2, 2), (5, 2, 3), (64, 8, 8)])
def test_a_grid_is_about_square_by_default(count, rows, columns):
    assert tile(np.zeros((count, 3, 3, 3), np.uint8)).shape == (2 + rows * 5, 2 + columns * 5, 3)


def test_a_grid_file_is_the_enlarged_tiles(tmp_path):
    images = samples(4, 3, 28, 28)
    path = save_grid(images, tmp_path / "new" / "grid.png", columns=4)
    picture = read(path)
    assert np.array_equal(picture[::2, ::2], tile(to_pixels(images), 4))
    assert np.array_equal(picture, picture[::2, ::2].repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("side", [64, 100])
def test_large_images_are_not_enlarged(tmp_path, side):
    path = save_grid(samples(1, 1, side, side), tmp_path / "grid.png")
    assert read(path).shape == (side + 4, side + 4)


@pytest.mark.parametrize("side", [8, 16, 20, 24, 28, 32, 40, 48])
def test_cells_are_at_least_48_pixels_wide_on_the_screen(tmp_path, side):
    width = read(save_grid(samples(1, 1, side, side), tmp_path / "grid.png")).shape[1]
    assert width * side / (side + 4) >= 48


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg", ".jpeg", ".PNG"])
def test_a_picture_suffix_saves_one_grid(tmp_path, suffix):
    path = save_images(samples(4, 3, 60, 60), tmp_path / f"grid{suffix}")
    assert path == tmp_path / f"grid{suffix}"
    assert read(path).shape[:2] == (126, 126)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_zip_holds_every_image_exactly(tmp_path, channels):
    images = samples(3, channels)
    with zipfile.ZipFile(save_images(images, tmp_path / "fakes.zip")) as archive:
        assert archive.namelist() == ["000000.png", "000001.png", "000002.png"]
        cells = [read(io.BytesIO(archive.read(name))) for name in archive.namelist()]
    assert np.array_equal(np.stack(cells).reshape(3, 6, 4, channels), to_pixels(images))


def test_an_npz_holds_the_pixels(tmp_path):
    images = samples(3, 3)
    with np.load(save_images(images, tmp_path / "deep" / "fakes.npz")) as file:
        assert file.files == ["images"]
        assert np.array_equal(file["images"], to_pixels(images))


def test_an_npz_suffix_in_capitals_is_written_where_the_answer_says(tmp_path):
    assert save_images(samples(), tmp_path / "fakes.NPZ").stat().st_size > 0


def test_no_suffix_is_a_folder_of_every_image(tmp_path):
    images = samples(3)
    folder = save_images(images, tmp_path / "deep" / "fakes")
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["000000.png", "000001.png", "000002.png"]
    assert np.array_equal(np.stack([read(folder / name) for name in names])[..., None], to_pixels(images))


@pytest.mark.parametrize("name", ["fakes.bmp", "fakes.tar", "fakes.txt"])
def test_another_suffix_is_refused_and_nothing_is_written(tmp_path, name):
    with pytest.raises(ValueError, match=r"cannot write \.\w+; use \.png"):
        save_images(samples(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".webp", ".gif", ".png", ".GIF"])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_animation_has_every_frame_and_loops_for_ever(tmp_path, suffix, channels):
    frames = list(samples(5 * 4, channels).split(4))
    path = save_animation(frames, tmp_path / "new" / f"walk{suffix}")
    with Image.open(path) as animation:
        assert (animation.n_frames, animation.info["loop"]) == (5, 0)


@pytest.mark.parametrize("suffix", [".webp", ".gif", ".png"])
def test_animation_frames_last_as_long_as_asked(tmp_path, suffix):
    path = save_animation(list(samples(3).split(1)), tmp_path / f"walk{suffix}", frames_per_second=10)
    with Image.open(path) as animation:
        for frame in range(3):
            animation.seek(frame)
            animation.load()
            assert animation.info["duration"] == 100


@pytest.mark.parametrize("suffix", [".webp", ".png"])
def test_animation_frames_are_the_grids_without_loss(tmp_path, suffix):
    frames = list(samples(3 * 4, 3, 64, 64).split(4))
    with Image.open(save_animation(frames, tmp_path / f"walk{suffix}")) as animation:
        for number, frame in enumerate(frames):
            animation.seek(number)
            assert np.array_equal(np.asarray(animation.convert("RGB")), tile(to_pixels(frame)))


@pytest.mark.parametrize("name", ["walk", "walk.mp4", "walk.jpg"])
def test_an_animation_in_another_form_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"cannot write an animation as .*; use \.webp or \.gif"):
        save_animation(list(samples(2).split(1)), tmp_path / name)
