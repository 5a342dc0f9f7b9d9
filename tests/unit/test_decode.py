"""Decoding: golden pixels for every kind of image, and the reason for every image that cannot be used."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from gansmith.data.decode import READ_ERRORS, BadImageError, decode

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encoded(image: Image.Image, file_format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def image_of(rows: list, mode: str) -> Image.Image:
    values = np.array(rows, np.uint8)
    image = Image.fromarray(values)
    assert image.mode == mode
    return image


def pixels_of(raw, channels: int) -> list:
    """Pixels as rows of values (grey) or tuples, at the image's own size."""
    image = Image.open(io.BytesIO(raw))
    pixels, refitted = decode(raw, (image.height, image.width), channels)
    assert not refitted
    assert pixels.dtype == np.uint8
    if channels == 1:
        return pixels[0].tolist()
    return [[tuple(pixel) for pixel in row] for row in pixels.transpose(1, 2, 0).tolist()]


class TestModes:
    def test_black_and_white(self):
        raw = encoded(image_of([[0, 255], [255, 0]], "L").convert("1"))
        assert pixels_of(raw, 1) == [[0, 255], [255, 0]]

    def test_grey(self):
        assert pixels_of(encoded(image_of([[0, 100], [200, 255]], "L")), 1) == [[0, 100], [200, 255]]

    def test_grey_becomes_three_equal_channels(self):
        assert pixels_of(encoded(image_of([[0, 100]], "L")), 3) == [[(0, 0, 0), (100, 100, 100)]]

    def test_grey_with_alpha_is_laid_on_white(self):
        raw = encoded(image_of([[[100, 255], [100, 0], [0, 51]]], "LA"))
        assert pixels_of(raw, 1) == [[100, 255, 204]]

    def test_colour(self):
        assert pixels_of(encoded(image_of([[RED, GREEN], [BLUE, WHITE]], "RGB")), 3) == [[RED, GREEN], [BLUE, WHITE]]

    def test_colour_becomes_grey_by_luminance(self):
        # ITU-R 601: 0.299 R + 0.587 G + 0.114 B
        assert pixels_of(encoded(image_of([[RED, GREEN, BLUE, WHITE]], "RGB")), 1) == [[76, 150, 29, 255]]

    def test_colour_with_alpha_is_laid_on_white(self):
        raw = encoded(image_of([[(*RED, 255), (*RED, 0), (0, 0, 0, 102)]], "RGBA"))
        assert pixels_of(raw, 3) == [[RED, WHITE, (153, 153, 153)]]

    def test_alpha_is_kept_when_four_channels_are_wanted(self):
        raw = encoded(image_of([[(1, 2, 3, 4), (5, 6, 7, 255)]], "RGBA"))
        assert pixels_of(raw, 4) == [[(1, 2, 3, 4), (5, 6, 7, 255)]]

    def test_image_without_alpha_is_opaque(self):
        assert pixels_of(encoded(image_of([[RED]], "RGB")), 4) == [[(255, 0, 0, 255)]]

    def test_palette(self):
        image = Image.new("P", (2, 1))
        image.putpalette([*RED, *BLUE])
        image.putpixel((1, 0), 1)
        assert pixels_of(encoded(image), 3) == [[RED, BLUE]]
        assert pixels_of(encoded(image), 1) == [[76, 29]]

    @pytest.mark.parametrize("channels", [1, 3])
    def test_transparent_palette_colour_is_white(self, channels):
        image = Image.new("P", (2, 1))
        image.putpalette([*RED, *BLUE])
        image.putpixel((1, 0), 1)
        raw = encoded(image, transparency=1)
        assert pixels_of(raw, channels) == ([[76, 255]] if channels == 1 else [[RED, WHITE]])

    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("mode", ["L", "RGB"])
    def test_transparent_colour_is_white_whatever_the_mode(self, mode, channels):
        image = image_of([[0, 100]], "L").convert(mode)
        raw = encoded(image, transparency=0 if mode == "L" else (0, 0, 0))
        assert pixels_of(raw, channels) == ([[255, 100]] if channels == 1 else [[WHITE, (100, 100, 100)]])

    def test_cmyk(self):
        values = np.array([[[0, 0, 0, 0], [0, 0, 0, 255], [0, 255, 255, 0]]], np.uint8)
        raw = encoded(Image.fromarray(values, "CMYK"), "TIFF")
        assert pixels_of(raw, 3) == [[WHITE, (0, 0, 0), RED]]

    def test_16_bit_grey_is_scaled_to_8(self):
        raw = encoded(Image.fromarray(np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)))
        assert Image.open(io.BytesIO(raw)).mode == "I;16"
        assert pixels_of(raw, 1) == [[0, 0, 1, 1, 128, 255]]
        assert pixels_of(raw, 3)[0][-1] == WHITE

    def test_big_endian_16_bit_tiff_is_scaled_to_8(self):
        raw = encoded(Image.frombytes("I;16B", (3, 1), struct.pack(">3H", 0, 32768, 65535)), "TIFF")
        assert Image.open(io.BytesIO(raw)).mode == "I;16B"
        assert pixels_of(raw, 1) == [[0, 128, 255]]

    def test_float_grey_is_rounded_and_clipped_to_0_to_255(self):
        raw = encoded(Image.fromarray(np.array([[-5, 0.6, 254.4, 1e9]], np.float32)), "TIFF")
        assert pixels_of(raw, 1) == [[0, 1, 254, 255]]

    def test_float_grey_with_nan_is_a_bad_image(self):
        raw = encoded(Image.fromarray(np.array([[np.nan, 1]], np.float32)), "TIFF")
        with pytest.raises(BadImageError):
            decode(raw, (1, 2), 1)

    @pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "GIF"])
    def test_lossless_formats_give_the_same_pixels(self, file_format):
        assert pixels_of(encoded(image_of([[0, 100], [200, 255]], "L"), file_format), 1) == [[0, 100], [200, 255]]

    @pytest.mark.parametrize("file_format", ["JPEG", "WEBP"])
    def test_lossy_formats_give_nearly_the_same_pixels(self, file_format):
        raw = encoded(Image.new("RGB", (16, 16), (200, 100, 50)), file_format, quality=95)
        pixels, _ = decode(raw, (16, 16), 3)
        # chroma at quality 95 is quantised in steps of a few levels
        np.testing.assert_allclose(pixels.reshape(3, -1).mean(1), [200, 100, 50], atol=4)


ORIENTED = {
    # what is to be seen for the stored picture 1 2 3 / 4 5 6 (EXIF 2.3, tag 274)
    1: [[1, 2, 3], [4, 5, 6]],
    2: [[3, 2, 1], [6, 5, 4]],
    3: [[6, 5, 4], [3, 2, 1]],
    4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]],
    6: [[4, 1], [5, 2], [6, 3]],
    7: [[6, 3], [5, 2], [4, 1]],
    8: [[3, 6], [2, 5], [1, 4]],
}


class TestGeometry:
    @pytest.mark.parametrize("orientation", ORIENTED)
    def test_exif_orientation_is_applied(self, orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        raw = encoded(image_of([[1, 2, 3], [4, 5, 6]], "L"), exif=exif)
        expected = ORIENTED[orientation]
        pixels, refitted = decode(raw, (len(expected), len(expected[0])), 1)
        assert pixels[0].tolist() == expected
        assert not refitted

    def test_first_frame_of_an_animation_is_taken(self):
        frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, GREEN, BLUE)]
        raw = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
        assert Image.open(io.BytesIO(raw)).n_frames == 3
        assert pixels_of(raw, 3) == [[RED] * 4] * 4

    @pytest.mark.parametrize("shape", [(1, 7), (7, 1), (1, 1)])
    def test_image_one_pixel_high_or_wide_can_be_read_and_refitted(self, shape):
        raw = encoded(Image.fromarray(np.full(shape, 9, np.uint8)))
        assert decode(raw, shape, 1)[0].tolist() == [np.full(shape, 9).tolist()]
        pixels, refitted = decode(raw, (8, 8), 1)
        assert refitted
        assert (pixels == 9).all()

    def test_wide_image_is_cropped_around_its_middle(self):
        columns = [RED] * 4 + [GREEN] * 8 + [BLUE] * 4
        pixels, refitted = decode(encoded(image_of([columns] * 8, "RGB")), (8, 8), 3)
        assert refitted
        assert (pixels.transpose(1, 2, 0) == GREEN).all()

    def test_tall_image_is_cropped_around_its_middle(self):
        rows = [[value] * 8 for value in [10] * 4 + [20] * 8 + [30] * 4]
        pixels, refitted = decode(encoded(image_of(rows, "L")), (8, 8), 1)
        assert refitted
        assert (pixels == 20).all()

    def test_wanted_shape_need_not_be_square(self):
        rows = [[value] * 8 for value in [10] * 2 + [20] * 4 + [30] * 2]
        pixels, refitted = decode(encoded(image_of(rows, "L")), (4, 8), 1)
        assert pixels.shape == (1, 4, 8)
        assert refitted
        assert (pixels == 20).all()

    def test_larger_image_of_the_wanted_shape_is_resampled_by_lanczos(self):
        image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
        pixels, refitted = decode(encoded(image), (16, 16), 3)
        assert refitted
        expected = np.asarray(image.resize((16, 16), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
        np.testing.assert_array_equal(pixels, expected)


class TestArrays:
    grey = np.array([[0, 51], [102, 255]], np.uint8)

    @pytest.mark.parametrize(
        "item",
        [
            grey,
            grey[:, :, None],
            (grey / 255).astype(np.float32),
            torch.from_numpy(grey),
            torch.from_numpy(grey)[None],
            torch.from_numpy(grey)[None].float() / 255,
            torch.from_numpy(grey)[None].double().div(255).requires_grad_(),
            Image.fromarray(grey),
        ],
        ids=["HW", "HWC", "float HW", "tensor HW", "tensor CHW", "float tensor", "with gradient", "Pillow"],
    )
    def test_every_way_to_give_a_grey_image_gives_the_same_pixels(self, item):
        pixels, refitted = decode(item, (2, 2), 1)
        np.testing.assert_array_equal(pixels, self.grey[None])
        assert not refitted

    def test_colour_array_is_channels_last_and_colour_tensor_channels_first(self):
        image = np.random.default_rng(0).integers(0, 256, (4, 3, 3), dtype=np.uint8)
        expected = image.transpose(2, 0, 1)
        np.testing.assert_array_equal(decode(image, (4, 3), 3)[0], expected)
        np.testing.assert_array_equal(decode(torch.from_numpy(expected.copy()), (4, 3), 3)[0], expected)

    def test_array_becomes_grey_like_a_file(self):
        array = np.array([[RED, GREEN, BLUE, WHITE]], np.uint8)
        assert decode(array, (1, 4), 1)[0].tolist() == [[[76, 150, 29, 255]]]

    def test_array_of_another_size_is_refitted_like_a_file(self):
        array = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
        pixels, refitted = decode(array, (8, 8), 3)
        assert refitted
        np.testing.assert_array_equal(pixels, decode(encoded(Image.fromarray(array)), (8, 8), 3)[0])

    def test_array_of_any_channel_number_is_taken_as_it_is(self):
        array = np.arange(2 * 2 * 5, dtype=np.uint8).reshape(2, 2, 5)
        np.testing.assert_array_equal(decode(array, (2, 2), 5)[0], array.transpose(2, 0, 1))

    def test_bfloat16_tensor_is_read_or_refused_as_a_bad_image(self):
        try:
            pixels, _ = decode(torch.ones(1, 2, 2, dtype=torch.bfloat16), (2, 2), 1)
        except BadImageError:
            return
        assert (pixels == 255).all()

    @pytest.mark.parametrize(
        ("item", "size", "channels", "reason"),
        [
            (np.zeros((2, 2, 5), np.uint8), (2, 2), 3, r"\(5, 2, 2\) does not fit \(3, 2, 2\)"),
            (np.zeros((2, 2, 3), np.uint8), (2, 2), 5, r"\(3, 2, 2\) does not fit \(5, 2, 2\)"),
            (np.zeros((2, 2, 5), np.uint8), (4, 4), 5, r"\(5, 2, 2\) does not fit \(5, 4, 4\)"),
            (np.zeros(4, np.uint8), (2, 2), 1, r"shape \(4,\) is not an image"),
            (np.zeros((1, 2, 2, 3), np.uint8), (2, 2), 3, "is not an image"),
            (np.zeros((0, 2), np.uint8), (2, 2), 1, "is not an image"),
            (np.full((2, 2), 1.5), (2, 2), 1, "float64 values are neither uint8 nor floats in"),
            (np.full((2, 2), -0.1, np.float32), (2, 2), 1, "float32 values are neither"),
            (np.full((2, 2), np.nan), (2, 2), 1, "float64 values are neither"),
            (np.full((2, 2), np.inf), (2, 2), 1, "float64 values are neither"),
            (np.zeros((2, 2), np.int64), (2, 2), 1, "int64 values are neither"),
            (torch.full((1, 2, 2), 2.0), (2, 2), 1, "float32 values are neither"),
            ("a text", (2, 2), 1, "is not an image"),
        ],
    )
    def test_array_that_is_no_image_is_refused_with_its_shape_or_type(self, item, size, channels, reason):
        with pytest.raises(BadImageError, match=reason):
            decode(item, size, channels)


def exif_with(*entries: tuple[int, int, int, bytes]) -> bytes:
    """EXIF with tags (number, type, count, four bytes of value)."""
    fields = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + fields + bytes(4)


TURNED = (0x0112, 3, 1, b"\6\0\0\0")
BROKEN_EXIF = {
    "no TIFF header": b"Exif\0\0no TIFF header at all",
    "cut off": b"Exif\0\0II*\0",
    "orientation as bytes": exif_with((0x0112, 7, 1, b"\6\0\0\0")),
    "orientation as text": exif_with((0x0112, 2, 2, b"6\0\0\0")),
    "orientation 99": exif_with((0x0112, 3, 1, b"\x63\0\0\0")),
    "width as text": exif_with((0x0100, 2, 2, b"6\0\0\0"), TURNED),
}


def noise(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8))


class TestBadFiles:
    @pytest.mark.parametrize(
        ("raw", "reason"),
        [
            (b"", "the file is empty"),
            (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "not an image in a known format"),
            (b"%PDF-1.7", "not an image in a known format"),
            (encoded(noise(), "JPEG")[:3], "not an image in a known format"),
            (encoded(noise(), "JPEG")[:600], "[Tt]runcated"),
            (encoded(noise(), "JPEG")[:-200], "truncated"),
            (encoded(noise())[:-200], "truncated"),
            (encoded(noise())[:20], "Truncated"),
            (encoded(noise(), "PPM"), "not an image in a known format"),
        ],
        ids=["empty", "HTML", "PDF", "JPEG start", "JPEG 600", "JPEG end", "PNG end", "PNG start", "PPM"],
    )
    def test_bad_file_is_refused_with_the_reason(self, raw, reason):
        with pytest.raises(BadImageError, match=reason):
            decode(raw, (32, 32), 3)

    @pytest.mark.parametrize("place", ["CRC of the header", "pixels"])
    def test_png_with_a_flipped_bit_in_its_checksum_or_pixels_is_refused(self, place):
        raw = bytearray(encoded(noise()))
        start = raw.index(b"IHDR") if place == "CRC of the header" else raw.index(b"IDAT")
        length = int.from_bytes(raw[start - 4 : start], "big")
        raw[start + 4 + (length if place == "CRC of the header" else length // 2)] ^= 1
        with pytest.raises(BadImageError):
            decode(bytes(raw), (32, 32), 3)

    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    @pytest.mark.parametrize(
        ("size", "reason"),
        [((60_000, 60_000), "decompression bomb"), ((10_001, 10_000), "10001x10000 pixels are more than 100 million")],
    )
    def test_header_that_claims_over_100_megapixels_is_refused_before_decoding(self, size, reason):
        def chunk(kind: bytes, content: bytes) -> bytes:
            return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

        header = struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0)
        raw = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
        with pytest.raises(BadImageError, match=reason):
            decode(raw, (32, 32), 1)

    def test_file_cannot_have_five_channels(self):
        with pytest.raises(BadImageError, match="1, 3 or 4 channels, not 5"):
            decode(encoded(noise()), (32, 32), 5)

    @pytest.mark.parametrize("exif", BROKEN_EXIF.values(), ids=BROKEN_EXIF)
    def test_image_with_broken_exif_is_read_or_refused_with_a_reason(self, exif):
        try:
            pixels, _ = decode(encoded(noise(), "JPEG", exif=exif), (32, 32), 3)
        except BadImageError:
            return
        assert pixels.shape == (3, 32, 32)

    @pytest.mark.filterwarnings("ignore")  # Pillow's own, about what it finds in damaged files
    def test_tiff_with_a_tag_of_another_type_is_read_or_refused_with_a_reason(self):
        good = encoded(noise().resize((8, 8)), "TIFF")
        start = int.from_bytes(good[4:8], "little")
        crashes = {}
        for place in range(int.from_bytes(good[start : start + 2], "little")):
            entry = start + 2 + 12 * place
            for kind in range(1, 14):
                raw = bytearray(good)
                raw[entry + 2] = kind
                try:
                    decode(bytes(raw), (8, 8), 3)
                except READ_ERRORS:
                    continue
                except Exception as error:  # noqa: BLE001  any other error is the finding
                    crashes[int.from_bytes(good[entry : entry + 2], "little"), kind] = repr(error)
        assert not crashes

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
    def test_damaged_file_gives_pixels_or_a_reason_and_nothing_else(self, file_format):
        options = {} if file_format in ("BMP", "GIF") else {"exif": exif_with(TURNED)}
        good = encoded(noise().resize((12, 12)), file_format, **options)
        random = np.random.default_rng(1)
        for _ in range(100):
            raw = bytearray(good)
            for place in random.integers(0, min(len(raw), 400), random.integers(1, 4)):
                raw[place] = random.integers(0, 256)
            try:
                pixels, _ = decode(bytes(raw), (12, 12), 3)
            except READ_ERRORS:
                continue
            assert pixels.shape == (3, 12, 12)
