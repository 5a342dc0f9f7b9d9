"""Images -> features in chunks, and the cache of those of real data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gansmith.data import DataSet
from gansmith.evaluation import features
from gansmith.evaluation.extractors import choose_extractor
from gansmith.evaluation.features import IMAGES_AT_ONCE, cached_features, chosen_rows, features_of
from gansmith.report import ExtractorFacts
from gansmith.training import classify
from tests.unit.test_extractors import CPU, Means, make_data


class Counting:
    """An extractor of 3 features and 2 classes that counts what it reads."""

    def __init__(self, checksum: str = "0" * 16) -> None:
        self.facts = ExtractorFacts(name="counting", checksum=checksum, dim=3, preparation="none")
        self.sizes: list[int] = []

    def read(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert images.dtype == torch.uint8
        self.sizes.append(len(images))
        means = images.float().mean((1, 2, 3))
        share = means / 255
        return torch.stack([means, means**2, means - 1], 1), torch.stack([share, 1 - share], 1)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GANSMITH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


class TestReading:
    def test_chunks_keep_the_order_and_bound_what_is_read_at_once(self):
        data, extractor, told = make_data(2 * IMAGES_AT_ONCE + 5), Counting(), []
        found = features_of(data, None, extractor, lambda done, count: told.append((done, count)))
        assert extractor.sizes == [IMAGES_AT_ONCE, IMAGES_AT_ONCE, 5]
        assert told == [(IMAGES_AT_ONCE, len(data)), (2 * IMAGES_AT_ONCE, len(data)), (len(data), len(data))]
        values, probabilities = Counting().read(torch.from_numpy(data.images))
        assert torch.equal(found.values, values)
        assert torch.equal(found.probabilities, probabilities)
        assert len(found) == len(data)

    def test_large_images_are_read_fewer_at_once(self, monkeypatch):
        monkeypatch.setattr(features, "BYTES_AT_ONCE", 130)
        extractor = Counting()
        features_of(make_data(5), None, extractor)
        assert extractor.sizes == [2, 2, 1]

    def test_chosen_images_of_an_array_and_of_a_data_set_are_the_same(self):
        data, rows = make_data(20), np.array([7, 3, 3, 19])
        a, b = (features_of(images, rows, Counting()).values for images in (data, data.images))
        assert torch.equal(a, b)
        assert torch.equal(a, Counting().read(torch.from_numpy(data.images[rows]))[0])

    def test_module_without_classes_has_no_probabilities(self):
        data = make_data(9)
        assert features_of(data, None, choose_extractor(Means(), data, device=CPU)).probabilities is None


class TestChoice:
    def test_rows_are_rising_different_and_depend_on_number_and_count_alone(self):
        rows = chosen_rows(1000, 100)
        assert np.array_equal(rows, chosen_rows(1000, 100))
        assert len(rows) == 100
        assert (np.diff(rows) > 0).all()
        assert rows.min() >= 0
        assert rows.max() < 1000
        assert rows.max() > 800
        assert not np.array_equal(rows, chosen_rows(1000, 100, seed=1))

    def test_more_of_them_hold_the_fewer(self):
        assert set(chosen_rows(1000, 100)) < set(chosen_rows(1000, 200))

    @pytest.mark.parametrize("count", [None, 10, 11])
    def test_all_where_no_fewer_are_asked_for(self, count):
        assert chosen_rows(10, count).tolist() == list(range(10))


class TestCache:
    def test_second_time_nothing_is_read(self):
        data, extractor = make_data(50), Counting()
        first = cached_features(data, 20, extractor)
        second = cached_features(data, 20, extractor)
        assert extractor.sizes == [20]
        assert torch.equal(first.values, second.values)
        assert torch.equal(first.probabilities, second.probabilities)
        assert torch.equal(first.values, features_of(data, chosen_rows(50, 20), Counting()).values)

    def test_key_is_data_length_extractor_and_count(self, cache):
        data = make_data(50)
        part = DataSet(**{**data.__dict__, "images": data.images[:40], "labels": data.labels[:40]})
        cached_features(data, 20, Counting())
        for other, count, checksum in (
            (data, 21, "0" * 16), (data, 20, "1" * 16), (part, 20, "0" * 16), (make_data(50, seed=9), 20, "0" * 16),
        ):  # fmt: skip
            extractor = Counting(checksum)
            cached_features(other, count, extractor)
            assert extractor.sizes == [count]
        assert len(list(cache.iterdir())) == 5

    def test_all_and_a_count_that_is_not_less_are_one_entry(self, cache):
        for count in (None, 50, 60):
            cached_features(make_data(50), count, Counting())
        assert len(list(cache.iterdir())) == 1

    @pytest.mark.parametrize("kind", ["empty", "cut", "flipped", "other shape", "no array"])
    def test_damaged_entry_is_read_again_said_and_replaced(self, cache, kind, caplog):
        data, extractor = make_data(50), Counting()
        first = cached_features(data, None, extractor)
        (path,) = cache.iterdir()
        content = path.read_bytes()
        if kind == "other shape":
            np.savez(path, values=np.zeros((50, 2), np.float32))
        elif kind == "no array":
            np.savez(path, other=np.zeros(1))
        else:
            middle = 300  # in the values
            flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
            path.write_bytes({"empty": b"", "cut": content[:-20], "flipped": flipped}[kind])
        again = cached_features(data, None, extractor)
        assert "damaged" in caplog.text
        assert extractor.sizes == [50, 50]
        assert torch.equal(first.values, again.values)
        assert path.read_bytes() == content

    def test_no_flipped_byte_changes_what_comes_back(self, cache):
        data, extractor = make_data(4), Counting()
        first = cached_features(data, None, extractor)
        (path,) = cache.iterdir()
        content = path.read_bytes()
        for place in range(0, len(content), 5):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            again = cached_features(data, None, extractor)
            assert torch.equal(again.values, first.values)
            assert torch.equal(again.probabilities, first.probabilities)
        assert len(extractor.sizes) > 50

    def test_place_that_cannot_be_written_to_is_said_and_the_features_returned(self, cache, caplog):
        cache.parent.mkdir(parents=True)
        cache.write_text("a file")
        found = cached_features(make_data(50), None, Counting())
        assert len(found) == 50
        assert "not kept" in caplog.text

    def test_of_a_user_s_module_nothing_is_kept(self, cache):
        data = make_data(50)
        assert len(cached_features(data, None, choose_extractor(Means(), data, device=CPU))) == 50
        assert not cache.exists()

    def test_classifier_s_features_come_back_with_its_probabilities(self, monkeypatch):
        monkeypatch.setattr(classify, "FEWEST_DEFAULT_IMAGES", classify.BATCH)
        data = make_data(50)
        extractor = choose_extractor("classifier", data, device=CPU)
        first, second = (cached_features(data, None, extractor) for _ in range(2))
        assert second.probabilities.shape == (50, 2)
        assert torch.equal(first.probabilities, second.probabilities)
