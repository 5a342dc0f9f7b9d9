"""Data sets of the hub, on small local copies: a folder in its layout, and its cache while offline."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gansmith.data import open_data, open_source
from gansmith.data.sources import NAMED, HubSource
from gansmith.errors import DataError
from tests.fake_hub import FakeHub, fake_hub  # noqa: F401
from tests.source_files import pixels, png, write_hub, write_parquet

README = """---
configs:
- config_name: {name}
  data_files:
  - split: train
    path: {name}/train-*
  - split: test
    path: {name}/test-*
{more}dataset_info:
  config_name: {name}
  splits:
  - name: train
    num_bytes: 1
    num_examples: 60000
---
# Whatever
"""


def features(**others: object) -> dict[str, object]:
    import datasets

    return {"image": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "bee", "cat"]), **others}


def value(dtype: str) -> object:
    import datasets

    return datasets.Value(dtype)


def cache_of_the_hub(repository: str) -> Path:
    """Return an empty snapshot of a data set in the hub's cache, as `snapshot_download` leaves it."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"datasets--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0123abcd")
    (folder / "snapshots" / "0123abcd").mkdir(parents=True)
    return folder / "snapshots" / "0123abcd"


def test_folder_of_parquet_is_read_in_row_order(tmp_path):
    write_hub(tmp_path, pixels(3), [2, 0, 2])
    write_hub(tmp_path, pixels(2, seed=1), [1, 0], "test")
    source = open_source(tmp_path)
    assert isinstance(source, HubSource)
    assert source.listing("train").labels.tolist() == [2, 0, 2]
    assert source.listing("train").class_names == ("ant", "bee", "cat")
    assert source.listing("test").labels.tolist() == [1, 0]
    assert source.read("train/1") == png(pixels(3)[1])


def test_several_parts_follow_each_other(tmp_path):
    for part in range(3):
        path = tmp_path / "data" / f"train-{part:05d}-of-00003.parquet"
        write_parquet(path, {"image": [png(pixels(3)[part])], "label": [part]}, features())
    data = open_data(tmp_path, (6, 5), 1)
    assert data.labels.tolist() == [0, 1, 2]
    assert np.array_equal(data.images[:, 0], pixels(3))


def test_validation_split_is_left_alone(tmp_path):
    for split in ("train", "validation"):
        write_hub(tmp_path, pixels(3), [0, 1, 2], split)
    assert len(open_source(tmp_path).listing("train").names) == 3
    assert list(open_source(tmp_path).listing("test").names) == []


def test_one_column_of_several_is_chosen(tmp_path):
    import datasets

    rows = {"image": [png(pixels(2)[0])], "label": [0], "mask": [png(pixels(2)[1])]}
    write_parquet(tmp_path / "train.parquet", rows, features(mask=datasets.Image()))
    assert open_source(f"hub:{tmp_path}#mask").read("train/0") == png(pixels(2)[1])
    assert open_source(f"hub:{tmp_path}#mask").stamp != open_source(f"hub:{tmp_path}#image").stamp


@pytest.mark.parametrize(
    ("dtype", "values", "labels", "class_names"),
    [
        ("int64", [2, 0, 1], [2, 0, 1], ("0", "1", "2")),
        ("string", ["dog", "cat", "dog"], [1, 0, 1], ("cat", "dog")),
        ("int64", [-1, -1, -1], None, ()),
        ("string", [None, None, None], None, ()),
        ("float32", [0.5, 1, 2], None, ()),
    ],
)
def test_label_column_of_numbers_or_texts(tmp_path, dtype, values, labels, class_names):
    rows = {"image": [png(image) for image in pixels(3)], "label": values}
    write_parquet(tmp_path / "train.parquet", rows, features(label=value(dtype)))
    listing = open_source(tmp_path).listing("train")
    assert (None if listing.labels is None else listing.labels.tolist()) == labels
    assert listing.class_names == class_names


def test_fine_label_goes_before_coarse_label(tmp_path):
    import datasets

    kinds = {"img": datasets.Image(), "coarse_label": datasets.ClassLabel(names=["x"]),
             "fine_label": datasets.ClassLabel(names=["y", "z"])}  # fmt: skip
    rows = {"img": [png(pixels(1)[0])], "coarse_label": [0], "fine_label": [1]}
    write_parquet(tmp_path / "train.parquet", rows, kinds)
    assert open_source(tmp_path).listing("train").class_names == ("y", "z")


def test_named_set_is_found_in_the_cache_while_offline(tmp_path, monkeypatch):
    snapshot = cache_of_the_hub(NAMED["mnist"])
    (snapshot / "README.md").write_text(README.format(name="mnist", more=""))
    write_hub(snapshot, pixels(2), [2, 0], "test")
    write_hub(snapshot, pixels(3), [2, 0, 1]).joinpath("data").rename(snapshot / "mnist")
    (tmp_path / "mnist").mkdir()
    monkeypatch.chdir(tmp_path)  # a folder of that name does not stand in for it
    source = open_source("mnist")
    assert source.name == "mnist"
    assert source.listing("train").labels.tolist() == [2, 0, 1]
    assert open_source("hub:ylecun/mnist@mnist").listing("train").labels.tolist() == [2, 0, 1]
    assert open_source("stacked:mnist").read("train/0").shape == (6, 5, 3)


def test_only_the_files_of_the_configuration_are_asked_for(monkeypatch, tmp_path):
    import huggingface_hub

    asked = []
    write_hub(tmp_path, pixels(2), [2, 0], "test")
    write_hub(tmp_path, pixels(3), [2, 0, 1]).joinpath("data").rename(tmp_path / "small")
    (tmp_path / "README.md").write_text(
        README.format(name="small", more="- config_name: other\n  data_files: other/*.parquet\n")
    )

    def snapshot_download(repository: str, repo_type: str, allow_patterns: list[str]) -> str:
        asked.append((repository, repo_type, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    source = open_source("hub:someone/pets@small")
    assert source.name == "pets"
    assert len(source.listing("train").names) == 3
    assert asked == [
        ("someone/pets", "dataset", ["README.md"]),
        ("someone/pets", "dataset", ["README.md", "small/train-*", "small/test-*"]),
    ]
    open_source("hub:someone/pets@other")
    assert asked[-1][2] == ["README.md", "other/*.parquet"]
    with pytest.raises(DataError, match="has the configurations other, small; choose one, such as 'hub:someone/pets@"):
        open_source("hub:someone/pets")
    assert asked[-1][2] == ["README.md"]


def test_progress_bars_of_the_library_are_as_they_were(tmp_path):
    import datasets

    open_source(write_hub(tmp_path, pixels(3), [2, 0, 1])).listing("train")
    assert not datasets.are_progress_bars_disabled()


OPEN = "import sys; from gansmith.data import open_source; print(open_source(sys.argv[1]).listing('train').labels)"


def run_open(data: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", OPEN, data], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_data_set_is_downloaded_once_and_found_again_without_the_hub(tmp_path, fake_hub):  # noqa: F811
    write_hub(tmp_path / "server", pixels(3), [2, 0, 1]).joinpath("data").rename(tmp_path / "server" / "small")
    write_hub(tmp_path / "server", pixels(2), [1, 1]).joinpath("data").rename(tmp_path / "server" / "other")
    configs = "".join(f"- config_name: {name}\n  data_files: {name}/*.parquet\n" for name in ("small", "other"))
    (tmp_path / "server" / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    first = run_open("hub:someone/pets@small", fake_hub)
    assert first.stdout.strip() == "[2 0 1]", first.stderr
    assert not any("other" in path for path in FakeHub.asked)
    FakeHub.asked.clear()
    again = run_open("hub:someone/pets@small", fake_hub | {"HF_HUB_OFFLINE": "1"})
    assert again.stdout.strip() == "[2 0 1]", again.stderr
    assert FakeHub.asked == []


def test_data_set_that_the_hub_does_not_have_is_a_data_error(fake_hub):  # noqa: F811
    result = run_open("hub:someone/else", fake_hub)
    assert "DataError: hub:someone/else: not found on the hub, or it needs an account" in result.stderr


def test_commands_that_need_no_hub_do_not_import_its_libraries(tmp_path):
    program = """
import sys
from gansmith.cli import main
for arguments in (["--help"], ["train", "--help"], ["train", "nowhere"]):
    try:
        main(arguments)
    except SystemExit:
        pass
print([name for name in ("datasets", "huggingface_hub", "pyarrow", "pandas") if name in sys.modules])
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    assert "nowhere: no such folder" in result.stderr
    assert result.stdout.splitlines()[-1] == "[]"
