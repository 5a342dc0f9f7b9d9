"""Rows 5, 16, 18, 19, 21 and 22 of docs/faults.md, on real files: what images are, and what becomes of bad ones."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gansmith
from gansmith.data import facts_of, open_data, open_source, survey
from gansmith.data.decode import decode
from gansmith.errors import DataError, ResourceError
from tests.conftest import write_images
from tests.end_to_end.processes import ENVIRONMENT, command
from tests.end_to_end.processes import gansmith as run_gansmith

pytestmark = pytest.mark.faults
RED, WHITE = (255, 0, 0), (255, 255, 255)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """A cache of this test alone."""
    monkeypatch.setenv("GANSMITH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def encoded(image: Image.Image, file_format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def noise(seed: int = 0, side: int = 32) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, bits: int, colour: int, rows: bytes, *more: bytes) -> bytes:
    """A PNG made by hand: `rows` are the scan lines, each after its filter byte; `more` are chunks before them."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def zeros(num_bytes: int) -> bytes:
    """Zlib data of so many zeros, made without holding them."""
    packer, block = zlib.compressobj(1), bytes(2**20)
    parts = [packer.compress(block[: min(len(block), num_bytes - start)]) for start in range(0, num_bytes, len(block))]
    return b"".join([*parts, packer.flush()])


def flipped(raw: bytes, place: int) -> bytes:
    return raw[:place] + bytes([raw[place] ^ 0xFF]) + raw[place + 1 :]


# Row 5: the disk under the cache


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Callable[[int], Path]]:
    """Mounts a file system of so many KB."""
    mounted: list[Path] = []

    def mount(kilobytes: int, options: str = "") -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k{options}", "tmpfs", str(folder)],
            capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"file systems cannot be mounted here: {done.stderr.decode().strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_05_too_small_a_disk_is_refused_before_decoding_with_both_numbers(tmp_path, small_disk, monkeypatch):
    disk = small_disk(1024)
    monkeypatch.setenv("GANSMITH_CACHE", str(disk))
    folder = write_images(tmp_path / "photos", 20)
    calls: list[int] = []
    with pytest.raises(ResourceError, match=r"needs 1\.2 MB there and 1\.0 MB are free; set GANSMITH_CACHE") as found:
        open_data(folder, (144, 144), 3, on_progress=lambda done, _: calls.append(done))
    assert str(disk) in str(found.value)
    assert not calls
    assert list(disk.iterdir()) == []


def test_05_disk_that_fills_while_decoding_is_an_error_and_leaves_nothing(tmp_path, small_disk, monkeypatch):
    disk = small_disk(3072)
    monkeypatch.setenv("GANSMITH_CACHE", str(disk))
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(1500):
        Image.new("L", (4, 4), number % 256).save(folder / f"{number}.bmp")

    def fill(done: int, count: int) -> None:
        with (disk / "another program's").open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass

    with pytest.raises(ResourceError, match=r"the disk is full; decoded data needs 1\.5 MB there; set GANSMITH_CACHE"):
        open_data(folder, (32, 32), 1, on_progress=fill)
    assert [path.name for path in disk.iterdir()] == ["another program's"]
    (disk / "another program's").unlink()
    assert len(open_data(folder, (32, 32), 1)) == 1500


def test_05_training_with_a_full_cache_disk_exits_6(tmp_path, small_disk):
    write_images(tmp_path / "photos", 4)
    result = subprocess.run(
        command("train", "photos", "--images", "64"), cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**ENVIRONMENT, "GANSMITH_CACHE": str(small_disk(64))}, timeout=100,
    )  # fmt: skip
    assert result.returncode == 6, result.stderr
    assert "GANSMITH_CACHE" in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


LIMITED = """
import resource, signal, sys
from gansmith.data import open_data
from gansmith.errors import ResourceError
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    open_data(sys.argv[1], (64, 64), 3)
except ResourceError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def test_05_file_size_limit_is_an_error_and_not_a_killed_process(tmp_path, cache):
    folder = write_images(tmp_path / "photos", 4)
    result = subprocess.run(
        [sys.executable, "-c", LIMITED, str(folder)], capture_output=True, text=True, check=False,
        env={**ENVIRONMENT, "GANSMITH_CACHE": str(cache)}, timeout=100,
    )  # fmt: skip
    assert result.returncode == 6, result.stderr
    assert "the disk is full" in result.stdout
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("what", ["a file", "below a file", "read-only"])
def test_06_cache_that_cannot_be_written_to_is_an_error_with_advice(what, tmp_path, small_disk, monkeypatch):
    place = tmp_path / "occupied"
    if what == "read-only":
        place = small_disk(4096, ",ro") / "cache"
    else:
        place.write_text("")
        place = place / "cache" if what == "below a file" else place
    monkeypatch.setenv("GANSMITH_CACHE", str(place))
    folder = write_images(tmp_path / "photos", 2)
    with pytest.raises(ResourceError, match=r"it cannot be written to .*; set GANSMITH_CACHE to a folder"):
        open_data(folder, (16, 16), 1)
    with pytest.raises(ResourceError, match="it cannot be written to"):
        facts_of(open_source(folder), place)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "images cut off": lambda entry: os.truncate(entry / "images.npy", 500),
    "images empty": lambda entry: os.truncate(entry / "images.npy", 0),
    "images gone": lambda entry: (entry / "images.npy").unlink(),
    "labels cut off": lambda entry: os.truncate(entry / "labels.npy", 140),
    "labels gone": lambda entry: (entry / "labels.npy").unlink(),
    "about empty": lambda entry: (entry / "about.json").write_text(""),
    "about a list": lambda entry: (entry / "about.json").write_text("[]"),
    "about of an older form": lambda entry: (entry / "about.json").write_text('{"fingerprint": "0123"}'),
    "about gone": lambda entry: (entry / "about.json").unlink(),
    "other images": lambda entry: np.save(entry / "images.npy", np.zeros((3, 1, 16, 16), np.uint8)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=[f"05-{name}" for name in DAMAGES])
def test_damaged_cache_entry_is_said_and_decoded_again(damage, image_folder, cache, caplog):
    before = open_data(image_folder, (16, 16), 1)
    expected, fingerprint = before.images.copy(), before.fingerprint
    del before
    (entry,) = cache.iterdir()
    damage(entry)
    after = open_data(image_folder, (16, 16), 1)
    assert "damaged; decoding again" in caplog.text
    np.testing.assert_array_equal(after.images, expected)
    assert after.fingerprint == fingerprint
    assert list(cache.iterdir()) == [entry]
    caplog.clear()
    open_data(image_folder, (16, 16), 1)
    assert not caplog.text


def test_05_damaged_facts_are_looked_up_again(image_folder, cache):
    source = open_source(image_folder)
    first = facts_of(source, cache)
    (kept,) = cache.iterdir()
    for text in ("", "[]", "{}", json.dumps({"size": [1, 2]})):
        kept.write_text(text)
        assert facts_of(source, cache) == first


# Row 16: few images


@pytest.mark.parametrize("count", [1, 2, 5, 100], ids=lambda count: f"16-{count}-images")
def test_few_images_train_and_a_batch_larger_than_the_data_is_said(count, tmp_path, capsys):
    folder = write_images(tmp_path / "few", count)
    small = ["generator.hidden=[32]", "discriminator.hidden=[32]"]
    run = gansmith.train(folder, "mlp", images=128, overrides=small, out=tmp_path / "run")
    assert run.images_seen >= 128
    said = "fewer images than one batch" in capsys.readouterr().out
    assert said == (count < run.recipe.batch_size)


# Row 18: bad files

GOOD_JPEG, GOOD_PNG = encoded(noise(), "JPEG"), encoded(noise())
BOMB_SIDE = 60_000
BAD = {
    "truncated-jpeg": ("a.jpg", GOOD_JPEG[:-300], "truncated"),
    "truncated-png": ("a.png", GOOD_PNG[:-300], "truncated"),
    "truncated-webp": ("a.webp", encoded(noise(), "WEBP")[:-100], ""),
    "truncated-tiff": ("a.tif", encoded(noise(), "TIFF")[:-300], ""),
    "empty-file": ("a.png", b"", "the file is empty"),
    "html-named-png": ("a.png", b"<!DOCTYPE html><html>404</html>", "not an image in a known format"),
    "bad-crc": ("a.png", flipped(GOOD_PNG, 8 + 4 + 4 + 13), ""),
    "bad-pixels": ("a.png", flipped(GOOD_PNG, len(GOOD_PNG) // 2), ""),
    "claims-3600-megapixels": ("a.png", png(BOMB_SIDE, BOMB_SIDE, 8, 0, b""), "decompression bomb"),
    "claims-101-megapixels": ("a.png", png(10_100, 10_000, 8, 0, b""), "more than 100 million"),
    "takes-400-MB": ("a.png", png(10_000, 10_000, 8, 2, b""), "take 400 MB to decode, over 160 MB"),
    "text-that-unpacks-to-a-gigabyte": (
        "a.png", png(1, 1, 8, 0, zlib.compress(b"\0\0"), chunk(b"zTXt", b"a\0\0" + zeros(2**28))), "too large",
    ),
    "profile-that-unpacks-to-a-gigabyte": (
        "a.png", png(1, 1, 8, 0, zlib.compress(b"\0\0"), chunk(b"iCCP", b"a\0\0" + zeros(2**28))), "too large",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "raw", "reason"), BAD.values(), ids=[f"18-{name}" for name in BAD])
def test_bad_file_is_skipped_and_listed_with_its_reason(name, raw, reason, tmp_path, recwarn):
    folder = write_images(tmp_path / "photos", 4, (32, 32), mode="RGB")
    (folder / name).write_bytes(raw)
    data = open_data(folder, (32, 32), 3)
    assert len(data) == 4
    ((skipped, why),) = data.skipped
    assert skipped == name
    assert reason in why
    assert why
    assert "\n" not in why
    assert survey(folder).bad == data.skipped
    assert not list(recwarn)


def broken(folder: Path, num_good: int, num_bad: int) -> Path:
    write_images(folder, num_good)
    for number in range(num_bad):
        (folder / f"bad{number}.png").write_bytes(b"")
    return folder


def test_18_over_5_percent_and_at_least_3_bad_is_an_error_cached_or_not(tmp_path):
    folder = broken(tmp_path / "photos", 50, 7)
    for _ in range(2):
        with pytest.raises(DataError) as found:
            open_data(folder, (16, 16), 1)
        assert str(found.value) == (
            "photos: 7 of its 57 images cannot be used (bad0.png: the file is empty; bad1.png: the file is empty; "
            "bad2.png: the file is empty; bad3.png: the file is empty; bad4.png: the file is empty; and 2 more); mend "
            "or remove them, or go on without them: --allow-bad"
        )
    assert found.value.exit_code == 3
    calls: list[int] = []
    data = open_data(folder, (16, 16), 1, allow_bad=True, on_progress=lambda done, _: calls.append(done))
    assert (len(data), len(data.skipped), calls) == (50, 7, [])


@pytest.mark.parametrize(
    ("num_good", "num_bad", "refused"),
    [(1, 2, False), (57, 3, False), (56, 3, True), (1, 3, True), (95, 5, False), (94, 6, True)],
    ids=lambda value: f"18-{value}",
)
def test_bar_is_more_than_5_percent_and_3(num_good, num_bad, refused, tmp_path):
    folder = broken(tmp_path / "photos", num_good, num_bad)
    if refused:
        with pytest.raises(DataError, match=f"{num_bad} of its {num_good + num_bad} images"):
            open_data(folder, (16, 16), 1)
    else:
        assert len(open_data(folder, (16, 16), 1)) == num_good


MEASURED = """
import sys
from gansmith.data import open_data, survey
data = open_data(sys.argv[1], (64, 64), 3, allow_bad=True)
found = survey(sys.argv[1])
with open("/proc/self/status") as status:  # not `ru_maxrss`, which begins with that of the parent
    (peak,) = (int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(len(data), len(found.bad), peak)
"""


def bombs() -> Iterator[tuple[str, bytes]]:
    """The largest of every kind that are decoded, and larger ones that are refused."""
    side = 6320
    yield "rgb.png", png(side, side, 8, 2, zeros(side * (1 + 3 * side)))
    yield "rgba.png", png(side, side, 8, 6, zeros(side * (1 + 4 * side)))
    yield "interlaced.png", png(side, side, 8, 2, zeros(side * (1 + 3 * side)))
    yield "grey.png", png(10_000, 10_000, 8, 0, zeros(10_000 * 10_001))
    yield "bits.png", png(10_000, 10_000, 1, 0, zeros(10_000 * 1_251))
    yield "deep.png", png(8_900, 8_900, 16, 0, zeros(8_900 * 17_801))
    yield "too_large.png", png(10_000, 10_000, 8, 6, zeros(10_000 * 40_001))
    palette = chunk(b"PLTE", bytes([1, 2, 3])) + chunk(b"tRNS", b"\x07")
    yield "palette.png", png(10_000, 10_000, 8, 3, zeros(10_000 * 10_001), palette)
    yield "still.webp", encoded(Image.new("RGB", (3160, 3160)), "WEBP", lossless=True, method=0)
    yield "large.webp", encoded(Image.new("RGB", (9000, 9000)), "WEBP", lossless=True, method=0)
    yield "deflated.tif", encoded(Image.new("I", (3640, 3640)), "TIFF", compression="tiff_deflate")
    yield "progressive.jpg", encoded(Image.new("RGB", (4000, 4000)), "JPEG", progressive=True, subsampling=0)
    yield "baseline.jpg", encoded(Image.new("RGB", (10_000, 9_900)), "JPEG")
    yield "screen.gif", encoded(Image.new("P", (10_000, 9_900)), "GIF")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak of this process alone")
def test_18_memory_stays_under_500_mb_whatever_unpacks(tmp_path, cache):
    folder = tmp_path / "bombs"
    folder.mkdir()
    for name, raw in bombs():
        (folder / name).write_bytes(raw)
        assert len(raw) < 4e6
    result = subprocess.run(
        [sys.executable, "-c", MEASURED, str(folder)], capture_output=True, text=True, check=True,
        env={**ENVIRONMENT, "GANSMITH_CACHE": str(cache)}, timeout=250,
    )  # fmt: skip
    num_good, num_bad, peak_kilobytes = map(int, result.stdout.split())
    assert (num_good, num_bad) == (12, 2)
    assert peak_kilobytes < 500_000


# Row 19: the right conversion, on golden pixels


def of_mode(mode: str, values: list) -> Image.Image:
    image = Image.new(mode, (len(values), 1))
    for column, value in enumerate(values):
        image.putpixel((column, 0), value)
    return image


def with_palette(mode: str, values: list) -> Image.Image:
    image = of_mode(mode, values)
    image.putpalette([*RED, 0, 0, 255])
    return image


def tiff_of(rows: list, dtype: type) -> bytes:
    """A TIFF of one line made by hand, for types that Pillow does not write."""
    values = np.array(rows, dtype).tobytes()
    kind = {"u": 1, "i": 2, "f": 3}[np.dtype(dtype).kind]
    bits = 8 * np.dtype(dtype).itemsize
    start = 8 + len(values)
    tags = [(256, 4, len(rows)), (257, 4, 1), (258, 3, bits), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1),
            (278, 4, 1), (279, 4, len(values)), (339, 3, kind)]  # fmt: skip
    fields = b"".join(struct.pack("<HHII", tag, form, 1, value) for tag, form, value in tags)
    return struct.pack("<2sHI", b"II", 42, start) + values + struct.pack("<H", len(tags)) + fields + bytes(4)


DEEP = png(2, 1, 16, 2, zlib.compress(b"\0" + struct.pack(">6H", 0, 0x8000, 0xFFFF, 0x1234, 0x1234, 0x1234)))
DEEP_CLEAR = png(
    2, 1, 16, 2, zlib.compress(b"\0" + struct.pack(">6H", 0, 0x8000, 0xFFFF, 0x1234, 0x1234, 0x1234)),
    chunk(b"tRNS", struct.pack(">3H", 0x1234, 0x1234, 0x1234)),
)  # fmt: skip
GREY_CLEAR = png(
    2, 1, 16, 0, zlib.compress(b"\0" + struct.pack(">2H", 0x1234, 0x8000)), chunk(b"tRNS", struct.pack(">H", 0x1234))
)
CMYK_VALUES = [(0, 0, 0, 0), (0, 0, 0, 255), (0, 255, 255, 0)]
GOLDEN: dict[str, tuple[bytes, list]] = {
    "1": (encoded(of_mode("1", [0, 255])), [0, 255]),
    "L": (encoded(of_mode("L", [0, 100, 255])), [0, 100, 255]),
    "LA": (encoded(of_mode("LA", [(100, 255), (100, 0), (0, 51)])), [100, 255, 204]),
    "RGBA": (encoded(of_mode("RGBA", [(*RED, 255), (*RED, 0), (0, 0, 0, 102)])), [RED, WHITE, (153, 153, 153)]),
    "P": (encoded(with_palette("P", [0, 1])), [RED, (0, 0, 255)]),
    "P-one-clear-colour": (encoded(with_palette("P", [0, 1]), transparency=1), [RED, WHITE]),
    "P-alpha-of-each-colour": (
        encoded(with_palette("P", [0, 1]), transparency=bytes([255, 102])), [RED, (153, 153, 255)],
    ),
    "1-clear-colour": (encoded(of_mode("1", [0, 255]), transparency=0), [255, 255]),
    "CMYK-tiff": (encoded(of_mode("CMYK", CMYK_VALUES), "TIFF"), [WHITE, (0, 0, 0), RED]),
    "I;16": (encoded(Image.fromarray(np.array([[0, 128, 129, 32768, 65535]], np.uint16))), [0, 0, 1, 128, 255]),
    "I;16-clear-value": (GREY_CLEAR, [255, 128]),
    "I;16-tiff": (tiff_of([0, 257, 65535], np.uint16), [0, 1, 255]),
    "I;16B-tiff": (
        encoded(Image.frombytes("I;16B", (3, 1), struct.pack(">3H", 0, 32768, 65535)), "TIFF"), [0, 128, 255],
    ),
    "I-16-bit-values": (tiff_of([-5, 0, 257, 65535], np.int32), [0, 0, 1, 255]),
    "I-31-bit-values": (tiff_of([-5, 0, 2**30, 2**31 - 1], np.int32), [0, 0, 128, 255]),
    "I-unsigned": (tiff_of([0, 2**31, 2**32 - 1], np.uint32), [0, 128, 255]),
    "F-0-to-255": (tiff_of([-5, 0.6, 254.4, 1e9], np.float32), [0, 1, 254, 255]),
    "F-0-to-1": (tiff_of([0, 0.2, 1], np.float32), [0, 51, 255]),
    "16-bit-RGB": (DEEP, [(0, 128, 255), (18, 18, 18)]),
    "16-bit-RGB-clear-colour": (DEEP_CLEAR, [(0, 128, 255), WHITE]),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "expected"), GOLDEN.values(), ids=[f"19-{name}" for name in GOLDEN])
def test_every_mode_gives_its_golden_pixels(raw, expected):
    is_grey = not isinstance(expected[0], tuple)
    pixels, refitted = decode(raw, (1, len(expected)), 1 if is_grey else 3)
    found = pixels[0, 0].tolist() if is_grey else [tuple(pixel) for pixel in pixels[:, 0].T.tolist()]
    assert found == expected
    assert not refitted
    if is_grey:
        np.testing.assert_array_equal(decode(raw, (1, len(expected)), 3)[0], np.repeat(pixels, 3, 0))


@pytest.mark.parametrize("mode", ["HSV", "YCbCr", "La", "RGBa", "RGBX", "PA"], ids=lambda mode: f"19-{mode}")
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_modes_that_only_python_objects_have_are_converted(mode, channels):
    white = {"HSV": (0, 0, 255), "YCbCr": (255, 128, 128), "La": (255, 255), "RGBa": (255,) * 4, "RGBX": (255,) * 4}
    image = with_palette("PA", [(0, 0)]) if mode == "PA" else Image.new(mode, (1, 1), white[mode])
    pixels, _ = decode(image, (1, 1), channels)
    assert pixels.shape == (channels, 1, 1)
    assert (pixels[: min(channels, 3)] == 255).all() or (mode == "PA" and channels == 4)


def test_19_lab_is_converted_to_srgb():
    # CIE 15: L* 53.24, a* 80.09, b* 67.20 is sRGB's red; a* and b* are stored from -128, the white point is D50
    values = [(255, 128, 128), (0, 128, 128), (136, 209, 198)]
    pixels, _ = decode(encoded(of_mode("LAB", values), "TIFF"), (1, 3), 3)
    np.testing.assert_allclose(pixels[:, 0, :2].T, [WHITE, (0, 0, 0)], atol=2)
    assert pixels[0, 0, 2] > 240
    assert pixels[1:, 0, 2].max() < 30


@pytest.mark.parametrize("adobe", [True, False], ids=["19-adobe-inverted-cmyk-jpeg", "19-plain-cmyk-jpeg"])
def test_cmyk_jpeg_has_the_right_sign(adobe):
    raw = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)
    marker = raw.index(b"\xff\xee")
    assert raw[marker + 4 : marker + 9] == b"Adobe"  # Pillow writes its values inverted, as Adobe does
    if not adobe:
        length = int.from_bytes(raw[marker + 2 : marker + 4], "big")
        raw = raw[:marker] + raw[marker + 2 + length :]
    pixels, _ = decode(raw, (16, 16), 3)
    # Without the marker the stored values mean what they say: cyan and all the black there is.
    expected = RED if adobe else (0, 0, 0)
    np.testing.assert_allclose(pixels.reshape(3, -1).mean(1), expected, atol=3)


SEEN = {
    # EXIF 2.3, tag 274: the stored picture is 1 2 3 / 4 5 6
    1: [[1, 2, 3], [4, 5, 6]], 2: [[3, 2, 1], [6, 5, 4]], 3: [[6, 5, 4], [3, 2, 1]], 4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]], 6: [[4, 1], [5, 2], [6, 3]], 7: [[6, 3], [5, 2], [4, 1]], 8: [[3, 6], [2, 5], [1, 4]],
}  # fmt: skip


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", SEEN, ids=lambda orientation: f"19-exif-{orientation}")
def test_exif_orientation_is_applied_in_every_format(orientation, file_format, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.array([[1, 2, 3], [4, 5, 6]], np.uint8))
    options = {"lossless": True} if file_format == "WEBP" else {}
    (tmp_path / f"a.{file_format.lower()}").write_bytes(encoded(image, file_format, exif=exif, **options))
    expected = SEEN[orientation]
    channels = 3 if file_format == "WEBP" else 1
    data = open_data(tmp_path, (len(expected), len(expected[0])), channels)
    assert data.images[0, 0].tolist() == expected
    assert data.num_refitted == 0


@pytest.mark.parametrize("orientation", range(1, 9), ids=lambda orientation: f"19-large-exif-{orientation}")
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_large_turned_image_is_reduced_to_what_the_small_one_gives(orientation, fit, file_format):
    """Over 4 megapixels an image is reduced in bands; the result is that of resampling it whole, to a few levels."""
    rows, columns = np.mgrid[0:1:2000j, 0:1:2400j]
    picture = np.stack([255 * rows, 255 * columns, 255 * (rows * columns)], 2).round().astype(np.uint8)
    image = Image.fromarray(picture)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"compress_level": 1} if file_format == "PNG" else {"quality": 95}
    large, refitted = decode(encoded(image, file_format, exif=exif, **options), (40, 24), 3, fit)
    small = image.resize((240, 200), Image.Resampling.LANCZOS)
    expected, _ = decode(encoded(small, exif=exif), (40, 24), 3, fit)
    assert refitted
    np.testing.assert_allclose(large.astype(int), expected, atol=5)


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "TIFF"], ids=lambda name: f"19-animated-{name}")
def test_first_frame_of_an_animation_is_taken(file_format, tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, (0, 255, 0), (0, 0, 255))]
    options = {"lossless": True} if file_format == "WEBP" else {}
    raw = encoded(frames[0], file_format, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(raw)).n_frames == 3
    (tmp_path / f"a.{file_format.lower()}").write_bytes(raw)
    data = open_data(tmp_path, (8, 8), 3)
    assert (data.images[0].transpose(1, 2, 0) == RED).all()
    found = survey(tmp_path, size=(8, 8))
    assert (found.cells[0].transpose(1, 2, 0) == RED).all()
    assert ["first" in done for done in found.treatments] == [True]


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"], ids=lambda fit: f"19-{fit}")
@pytest.mark.parametrize("shape", [(1, 7), (7, 1), (1, 1), (1, 3000), (3000, 1)])
def test_thin_image_is_fitted(shape, fit):
    pixels, refitted = decode(encoded(Image.fromarray(np.full(shape, 9, np.uint8))), (8, 6), 1, fit)
    assert refitted
    assert pixels.shape == (1, 8, 6)
    assert (pixels == 9).all()


def test_19_mixed_sizes_and_modes_become_one_array(tmp_path):
    write_images(tmp_path, 2, (10, 20))
    write_images(tmp_path / "x", 2, (30, 7), mode="RGBA")
    data = open_data(tmp_path, (12, 12), 3)
    assert data.images.shape == (4, 3, 12, 12)
    assert data.num_refitted == 4


# Row 21: names, links, and files that change


@pytest.mark.parametrize(
    "name",
    ["ünïcödé.png", "with two  spaces.png", "smile 😀.png", "x" * 251 + ".png", "LOUD.PNG", "a'b\"c$d.png", "日本.png"],
    ids=lambda name: f"21-{name[:12]}",
)
def test_any_file_name_is_read_and_named(name, tmp_path):
    write_images(tmp_path / "photos", 1)
    (tmp_path / "photos" / "000.png").rename(tmp_path / "photos" / name)
    assert len(open_data(tmp_path / "photos", (16, 16), 1)) == 1
    (tmp_path / "photos" / name).write_bytes(b"")
    write_images(tmp_path / "photos", 1)
    assert open_data(tmp_path / "photos", (16, 16), 1).skipped == ((name, "the file is empty"),)


def test_21_name_that_is_no_unicode_is_read_and_named(tmp_path):
    write_images(tmp_path / "photos", 2)
    try:
        os.rename(os.fsencode(tmp_path / "photos" / "000.png"), os.fsencode(tmp_path / "photos") + b"/caf\xe9.png")
    except OSError:
        pytest.skip("this file system takes only Unicode names")
    (tmp_path / "photos" / "001.png").write_bytes(b"")
    assert len(open_data(tmp_path / "photos", (16, 16), 1)) == 1
    result = run_gansmith("data", "photos", "--all", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "001.png: the file is empty" in result.stdout


def test_21_hidden_files_and_link_loops_are_passed_over(tmp_path):
    folder = write_images(tmp_path / "photos", 3)
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "loop").symlink_to(folder)
    (folder / "nowhere.png").symlink_to(tmp_path / "not there")
    data = open_data(folder, (16, 16), 1)
    assert len(data) == 3
    assert data.skipped == (("nowhere.png", "the file is gone"),)


def test_21_files_that_vanish_or_change_while_decoding_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    folder = write_images(tmp_path / "photos", 600, (4, 4))

    def change(done: int, count: int) -> None:
        if done == 256:
            (folder / "598.png").unlink()
            (folder / "599.png").write_bytes(b"")

    data = open_data(folder, (4, 4), 1, on_progress=change)
    assert data.skipped == (("598.png", "the file is gone"), ("599.png", "the file is empty"))
    assert len(data) == 598
    np.testing.assert_array_equal(data.images[597, 0], np.asarray(Image.open(folder / "597.png")))


def test_21_files_deleted_after_decoding_do_not_matter_to_training(tmp_path):
    folder = write_images(tmp_path / "photos", 30)
    data = open_data(folder, (16, 16), 1)
    for file in folder.iterdir():
        file.unlink()
    assert data.batch(np.arange(30)).images.float().std() > 0


# Row 22: classes


def test_22_empty_class_folder_is_dropped_with_a_warning(image_folder, caplog):
    (image_folder / "birds").mkdir()
    (image_folder / ".git").mkdir()
    data = open_data(image_folder, (16, 16), 1)
    assert data.class_names == ("cats", "dogs")
    assert "pets: the folder birds holds no images; it is no class" in caplog.text
    assert caplog.text.count("holds no images") == 1
    assert survey(image_folder).empty_classes == ("birds",)


def test_22_one_class_only_is_said(tmp_path):
    write_images(tmp_path / "pets" / "train" / "cats", 4)
    result = run_gansmith("data", "pets", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "one class only (cats)" in result.stdout


def test_22_class_of_the_test_split_alone_keeps_the_numbers_and_is_said(tmp_path):
    for split, names in (("train", ("ants", "cats")), ("test", ("ants", "bees", "cats"))):
        for seed, name in enumerate(names):
            write_images(tmp_path / "pets" / split / name, 3, seed=seed)
    train, test = (open_data(tmp_path / "pets", (16, 16), 1, split) for split in ("train", "test"))
    assert train.class_names == test.class_names == ("ants", "bees", "cats")
    assert train.labels.tolist() == [0] * 3 + [2] * 3
    assert facts_of(open_source(tmp_path / "pets")).class_counts == (3, 0, 3)
    result = run_gansmith("data", "pets", cwd=tmp_path)
    assert "no usable train images of bees" in result.stdout


def test_22_class_whose_images_are_all_bad_keeps_its_number_and_is_said(tmp_path):
    for name in ("ants", "bees", "cats"):
        write_images(tmp_path / name, 2 if name == "bees" else 12)
    for file in (tmp_path / "bees").iterdir():
        file.write_bytes(b"")
    assert set(open_data(tmp_path, (16, 16), 1).labels.tolist()) == {0, 2}
    assert survey(tmp_path).class_counts["train"] == (12, 0, 12)
