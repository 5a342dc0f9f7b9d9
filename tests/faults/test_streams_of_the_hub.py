"""Row 24 of docs/faults.md, streams of a hub that answers, in parts, and for a while not; the command itself."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from gansmith.checkpoint import read_newest
from gansmith.training.log import Metrics
from tests.end_to_end.processes import gansmith, start
from tests.fake_hub import FakeHub, fake_hub  # noqa: F401
from tests.source_files import pixels, png, write_parts

pytestmark = pytest.mark.faults
READ = """
import logging, sys
import numpy as np
from gansmith.data import open_for_training, open_source
from gansmith.data.sources import stream
from gansmith.errors import DataError

logging.basicConfig(format="%(message)s")
stream.PAUSES = (0.05, 0.05, 0.05)
here, there = (open_for_training(open_source(text), (64, 64), 1) for text in sys.argv[1:])
rows = np.arange(25)
assert np.array_equal(here.batch(rows).images, there.batch(rows).images)
print("same", flush=True)
sys.stdin.readline()  # the connection is lost for a while
assert np.array_equal(here.batch(rows).images, there.batch(rows).images)
print("same again", flush=True)
sys.stdin.readline()  # the connection is lost
try:
    there.batch(rows)
except DataError as error:
    print(error)
there.order(0, "real_d").indices(0, 9)  # begins to read ahead, as the process ends
"""


def test_24_stream_reads_parts_of_files_and_survives_a_lost_connection(tmp_path, fake_hub):  # noqa: F811
    images = [png(image) for image in pixels(400, (64, 64))]
    folder = write_parts(tmp_path / "server", images, [0] * 400, num_files=1, rows_per_group=20)
    program = [sys.executable, "-c", READ, f"stream:{folder}", "stream:someone/pets"]
    pipe = subprocess.PIPE
    with subprocess.Popen(program, env=fake_hub, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout.readline() == "same\n", process.communicate()[1]
        # Two of twenty row groups, and the end of the file (64 KB) at the start and for each of them.
        assert 0.1 < sum(FakeHub.sent) / (folder / "data" / "train-00000-of-00001.parquet").stat().st_size < 0.4
        FakeHub.lost += [None] * 3
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "same again\n", process.communicate()[1]
        assert FakeHub.lost == []
        FakeHub.lost += [None] * 99
        output, errors = process.communicate("\n", timeout=60)
    assert "row group 0 cannot be read (Client error '409 Conflict'" in output, errors
    assert errors.count("row group 0: Client error '409 Conflict'") == 3 + 3
    assert process.returncode == 0, errors


ROOM = """
import shutil, sys
from gansmith.data import open_source
from gansmith.errors import ResourceError

for free in sys.argv[1:]:
    shutil.disk_usage = lambda path: shutil._ntuple_diskusage(10**6, 0, int(free))
    try:
        print(len(open_source("hub:someone/pets").listing("train").names))
    except ResourceError as error:
        print(error)
"""


def test_24_set_that_is_larger_than_the_disk_is_refused_and_streaming_is_named(tmp_path, fake_hub):  # noqa: F811
    folder = write_parts(tmp_path / "server", [png(image) for image in pixels(60)], [0] * 60, 1, 20)
    size = (folder / "data" / "train-00000-of-00001.parquet").stat().st_size
    program = [sys.executable, "-c", ROOM, str(2 * size - 1), str(2 * size), "0"]
    result = subprocess.run(program, env=fake_hub, capture_output=True, text=True, check=True)
    refused, fetched, kept = result.stdout.splitlines()
    assert refused.startswith("hub:someone/pets: 0.0 GB are to be downloaded, and as much again unpacked")
    assert refused.endswith("stream:hub:someone/pets")
    assert (fetched, kept) == ("60", "60")  # what is here already needs no room


@pytest.mark.slow
def test_24_command_trains_on_a_stream_stops_and_goes_on(tmp_path):
    write_parts(tmp_path / "pets", [png(image) for image in pixels(3000, (8, 8))], [0] * 3000, 4, 100)
    command = ("train", "stream:./pets", "--recipe", "mlp", "--images", "50m", "--out", "run")
    with start(*command, cwd=tmp_path) as process:
        deadline = time.monotonic() + 60
        while not Metrics(tmp_path / "run" / "metrics.jsonl").read():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output
    assert "pets: 3,000 images" in output and "streamed: all 32 row groups fit into memory" in output
    checkpoint, _ = read_newest(tmp_path / "run" / "checkpoints")
    seen = checkpoint.state.counters["images"]
    again = gansmith(*command[:4], "--images", str(seen + 1000), "--out", "run", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert f"run: going on from {seen:,} images" in again.stdout
    looked = gansmith("data", "stream:./pets", cwd=tmp_path)
    assert looked.returncode == 2
    assert "stream:./pets: is read row group by row group while training" in looked.stderr
    estimated = gansmith("train", "stream:./pets", "--recipe", "mlp", "--dry-run", cwd=tmp_path)
    assert estimated.returncode == 0, estimated.stderr
    judged = gansmith("evaluate", "run", cwd=tmp_path)
    assert judged.returncode == 2
    assert "give ./pets, which downloads it all, or a folder with some of its parquet files" in judged.stderr
