"""Inception as papers use it: the 2015-12-05 graph, 2048-d pool, through torch-fidelity (extra `fid`).

Only with the published weights is a Fréchet distance of its features an FID (Heusel et al. 2017); other weights are
allowed and labelled. Of torch-fidelity only the network's own module is imported: the package as a whole needs a
torchvision that fits the installed torch, which a CPU build of torch often has not.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import io
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from gansmith.errors import CheckpointError, UsageError
from gansmith.evaluation.extractors.preparation import Setting, checksum_of, exact_reading, to_rgb
from gansmith.report import ExtractorFacts
from gansmith.restore import copy_tensors
from gansmith.training.classify import shape_of

URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
FILE_NAME = URL.rsplit("/", 1)[1]
PUBLISHED = "6726825d"
"""The sha256 of the published file begins with it."""
PACKAGE = "torch_fidelity"
OUTPUTS = ["2048", "logits_unbiased"]
DIM = 2048
IMAGES_AT_ONCE = 32
PREPARATION = "bilinear to 299x299 as TensorFlow 1 does, three channels"
INSTALL = "pip install 'gansmith[fid]'"


@dataclass(frozen=True)
class InceptionExtractor:
    """The Inception network of 2015 that reads grey, RGB and RGBA images of any size.

    Attributes:
        facts: its checksum, and whether its weights are the published ones.
        network: uint8 images (N, 3, H, W) -> pool and logits without bias.
        device: that it reads on.
    """

    facts: ExtractorFacts
    network: nn.Module
    device: torch.device

    def read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return (N, 2048) features and (N, 1008) probabilities, the softmax without bias, for uint8 images.

        Raises:
            DataError: they have other than 1, 3 or 4 channels.
        """
        features, probabilities = [], []
        with exact_reading():
            for part in torch.split(images, IMAGES_AT_ONCE):
                pool, logits = self.network(to_rgb(part, "inception").to(torch.uint8).to(self.device))
                features.append(pool.cpu())
                probabilities.append(logits.softmax(1).cpu())
        return torch.cat(features), torch.cat(probabilities)


def make_inception(setting: Setting) -> InceptionExtractor:
    """Return the network with the published weights, downloaded if need be, or with those of a file.

    Raises:
        UsageError: torch-fidelity is not installed, or there are no weights.
        DataError: images of these data have other than 1, 3 or 4 channels.
        CheckpointError: the weights are damaged or of another network.
    """
    library = _library()
    to_rgb(torch.zeros(1, *shape_of(setting.train), dtype=torch.uint8), "inception")
    path = _published_file(setting) if setting.weights is None else setting.weights
    content = _read(path)
    digest = hashlib.sha256(content).hexdigest()
    is_published = digest.startswith(PUBLISHED)
    if setting.weights is None and not is_published:
        raise CheckpointError(f"{path}: damaged (its sha256 begins {digest[:8]}, not {PUBLISHED}); delete it")
    tensors = _tensors(content, path)
    network = _network(library)
    copy_tensors(network.state_dict(), tensors, path, "the Inception network of 2015-12-05")
    note = f"the published weights ({PUBLISHED})"
    if not is_published:
        note = f"NOT the published weights: {path} (sha256 begins {digest[:8]}, the published {PUBLISHED}); no FID"
        setting.say(f"inception: {note}")
    facts = ExtractorFacts(
        name="inception",
        checksum=checksum_of(network.state_dict(), PREPARATION),
        dim=DIM,
        preparation=PREPARATION,
        note=note,
        is_published=is_published,
    )
    network.to(setting.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return InceptionExtractor(facts, network, setting.device)


def require(weights: Path | None) -> None:
    """Raise what is missing, before anything is computed: torch-fidelity, or the file of weights that was named.

    Raises:
        UsageError: as `make_inception`; whether the published weights can be downloaded is not tried.
    """
    _library()
    if weights is not None and not weights.is_file():
        raise UsageError(f"--weights {weights}: there is no such file; {URL} are the published ones")


def _library() -> ModuleType:
    """Return torch-fidelity's module of the network, without the rest of the package, and leave no trace of it."""
    name = f"{PACKAGE}.feature_extractor_inceptionv3"
    if PACKAGE in sys.modules:  # the user has imported it whole
        return importlib.import_module(name)
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        raise UsageError(f"inception (fid) needs torch-fidelity: {INSTALL}; {_where()}")
    sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)
    try:
        return importlib.import_module(name)
    finally:
        for loaded in [key for key in sys.modules if key.split(".")[0] == PACKAGE]:
            del sys.modules[loaded]


def _network(library: ModuleType) -> nn.Module:
    """Return the network with weights that are to be replaced."""
    base: Any = library.FeatureExtractorInceptionV3

    class Unread(base):  # type: ignore[misc]
        """Its constructor unpickles a file of weights: it is given an empty one, which is not taken."""

        def load_state_dict(self, *args: Any, **options: Any) -> None:
            """Take nothing; `copy_tensors` fills it in."""

    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    with torch.random.fork_rng(devices=[]):
        network: nn.Module = Unread("inception", OUTPUTS, nothing)
    return network.requires_grad_(False).eval()


def _hub_path() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / FILE_NAME


def _where() -> str:
    return f"its weights: --weights PATH, or {URL} as {_hub_path()}"


def _published_file(setting: Setting) -> Path:
    """Return the file in torch hub's cache, downloaded if it is not there."""
    path = _hub_path()
    if not path.exists():
        setting.say(f"downloading the Inception weights (95 MB) from {URL}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(URL, str(path), PUBLISHED, progress=False)
        except (OSError, RuntimeError, HTTPException) as error:  # no network, no room; another hash; cut short
            raise UsageError(f"inception (fid): the weights cannot be downloaded ({error}); {_where()}") from error
    return path


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"--weights {path}: cannot be read ({error.strerror}); {URL} are the published ones"
        ) from error


def _tensors(content: bytes, path: Path) -> Mapping[str, Tensor]:
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, LookupError, EOFError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path}: not a readable file of weights ({reason})") from error
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError(
            f"{path}: holds no weights (a dictionary of tensors by name), but a {type(found).__name__}"
        )
    return found
