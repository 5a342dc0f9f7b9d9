"""What data costs: decoding, waiting for batches, memory, time to the first step. Prints a table, exits 1 below a bar.

    python benchmarks/data.py [--data mnist.zip] [--quick] [--json data.json]

Without `--data`: `mnist.zip` in the folder that GANSMITH_DATA names, else in ../shared/data if it is there. Every
training is a process of its own with a private cache. `--quick` takes 6,000 images instead of 60,000 and fewer trials;
it only reports the start-up time, which three trials on a busy machine cannot judge.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

DECODE_SCRIPT = """
import sys, time
from gansmith.data import open_data
started = time.perf_counter()
data = open_data(sys.argv[1], (28, 28), 1)
print(len(data), time.perf_counter() - started)
"""
FEW = 1000
START_TRIALS = 5


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, on what, and the most it may be."""

    name: str
    value: float
    unit: str
    at_most: float
    note: str
    is_judged: bool = True

    @property
    def holds(self) -> bool:
        """Whether the bar is met, or is not asked for here."""
        return self.value <= self.at_most or not self.is_judged


def main() -> None:
    """Measure everything, print, and write JSON if asked."""
    parser = argparse.ArgumentParser(description="What data costs.")
    parser.add_argument("--data", type=Path, default=default_data())
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.data is None or not arguments.data.exists():
        sys.exit(f"no data at {arguments.data}: give --data mnist.zip or set GANSMITH_DATA to the folder it is in")
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(arguments.data, Path(folder), arguments.quick)
    print(f"{'':44}{'measured':>12}{'at most':>10}")
    for row in rows:
        verdict = "ok" if row.value <= row.at_most else "NOT MET" if row.is_judged else "over"
        print(f"{row.name:44}{row.value:9.3g} {row.unit:<3}{row.at_most:7g} {row.unit:<3} {verdict:8} {row.note}")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    if not all(row.holds for row in rows):
        sys.exit(1)


def default_data() -> Path | None:
    """Return where mnist.zip is expected."""
    for folder in (os.environ.get("GANSMITH_DATA"), Path(__file__).parents[2] / "shared" / "data"):
        if folder and (Path(folder) / "mnist.zip").exists():
            return Path(folder) / "mnist.zip"
    return None


def measure(source: Path, folder: Path, quick: bool) -> list[Row]:
    """Return the rows."""
    many = subset(source, folder / "many.zip", 6000) if quick else source
    few = subset(source, folder / "few.zip", FEW)
    count, seconds = decode(many, folder / "decode")
    scale = 60_000 / count
    memory = {name: peak_memory(path, folder / name) for name, path in (("many", many), ("few", few))}
    trials = 3 if quick else START_TRIALS
    waits = [wait_share(many, folder / f"wait{trial}", folder / "decode") for trial in range(1 if quick else 3)]
    starts = [first_step_seconds(many, folder / f"start{trial}", folder / "decode") for trial in range(trials)]
    spread = f"median of {trials}, {min(starts):.2f} to {max(starts):.2f}"
    return [
        Row("decoding 60,000 PNGs", seconds * scale, "s", 40, f"{count:,} images in {seconds:.1f} s"),
        Row("waiting for batches / step, dcgan-28", 100 * max(waits), "%", 3, f"worst of {len(waits)}, cache warm"),
        Row(
            "peak RssAnon, many images against few", abs(memory["many"] - memory["few"]), "MB", 50,
            f"{memory['many']:.0f} MB with {count:,}, {memory['few']:.0f} MB with {FEW:,}; cold cache",
        ),
        Row("process start to first step, cache warm", median(starts), "s", 4, spread, is_judged=not quick),
    ]  # fmt: skip


def subset(source: Path, target: Path, count: int) -> Path:
    """Write a zip of `count` training images spread over the source; return its path."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as out:
        names = sorted(name for name in archive.namelist() if name.startswith("train/"))
        for name in names[:: len(names) // count][:count]:
            out.writestr(name, archive.read(name))
    return target


def environment(cache: Path) -> dict[str, str]:
    """Return this environment with another cache folder."""
    return {**os.environ, "GANSMITH_CACHE": str(cache)}


def decode(source: Path, cache: Path) -> tuple[int, float]:
    """Decode into an empty cache; return the number of images and the seconds without start-up."""
    command = [sys.executable, "-c", DECODE_SCRIPT, str(source)]
    result = subprocess.run(command, env=environment(cache), check=True, capture_output=True, text=True)
    count, seconds = result.stdout.split()
    return int(count), float(seconds)


def train(source: Path, out: Path, cache: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start a quiet training of dcgan-28."""
    command = [sys.executable, "-m", "gansmith", "train", str(source), "--recipe", "dcgan-28", "--out", str(out)]
    return subprocess.Popen([*command, "--quiet", *options], env=environment(cache))


def peak_memory(source: Path, folder: Path) -> float:
    """Decode and train 10 steps with a cold cache; return the highest RssAnon seen, in MB."""
    process, peak = train(source, folder / "run", folder / "cache", "--images", "1280"), 0.0
    while process.poll() is None:
        match = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        peak = max(peak, int(match[1]) / 1e3 if match else 0.0)
        time.sleep(0.005)
    return peak


def wait_share(source: Path, out: Path, cache: Path) -> float:
    """Train 100 steps; return the share of the time that was spent on getting batches (converted, on the device)."""
    assert train(source, out, cache, "--images", "12800").wait() == 0
    first, *records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    stretches = zip([first, *records], records, strict=False)
    waited = sum(record["wait_share"] * (record["seconds"] - before["seconds"]) for before, record in stretches)
    return float(waited / (records[-1]["seconds"] - first["seconds"]))


def first_step_seconds(source: Path, out: Path, cache: Path) -> float:
    """Return the time from starting the process to the end of its first step."""
    started = time.time()
    assert train(source, out, cache, "--images", "128").wait() == 0
    return float(json.loads((out / "metrics.jsonl").read_text().splitlines()[0])["time"]) - started


if __name__ == "__main__":
    main()
