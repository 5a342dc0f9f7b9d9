"""DINOv2 (Oquab et al. 2023), through transformers (extra `dino`): 224x224 bicubic, the class token after its norm.

Stein et al. (2023) find that its Fréchet distance follows people's judgement better than Inception's.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.functional import interpolate

from gansmith.errors import CheckpointError, UsageError
from gansmith.evaluation.extractors.preparation import Setting, checksum_of, exact_reading, to_rgb
from gansmith.report import ExtractorFacts
from gansmith.training.classify import shape_of

DEFAULT = "facebook/dinov2-base"
SIDE, IMAGES_AT_ONCE = 224, 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's channels, in [0, 1]."""
PREPARATION = f"bicubic with antialiasing to {SIDE}x{SIDE}, three channels, ImageNet's mean and deviation"
INSTALL = "pip install 'gansmith[dino]'"
WHERE = (
    "its weights: --weights FOLDER with config.json and model.safetensors "
    f"(download them from https://huggingface.co/{DEFAULT}), or that model in the hub's cache"
)


@dataclass(frozen=True)
class DinoExtractor:
    """A DINOv2 network that reads grey, RGB and RGBA images of any size.

    Attributes:
        facts: its checksum and where its weights are from.
        network: transformers' model.
        device: that it reads on.
    """

    facts: ExtractorFacts
    network: nn.Module
    device: torch.device

    def read(self, images: Tensor) -> tuple[Tensor, None]:
        """Return (N, D) features, D = 768 for the base model, and no probabilities, for uint8 images.

        Raises:
            DataError: they have other than 1, 3 or 4 channels.
        """
        features = []
        with exact_reading():
            for part in torch.split(images, IMAGES_AT_ONCE):
                features.append(self.network(prepared(part).to(self.device)).pooler_output.float().cpu())
        return torch.cat(features), None


def prepared(images: Tensor) -> Tensor:
    """Return (N, 3, 224, 224) float32 as the network takes them for uint8 images (N, C, H, W), C = 1, 3 or 4."""
    values = interpolate(to_rgb(images, "dinov2"), size=(SIDE, SIDE), mode="bicubic", antialias=True)
    mean, std = (torch.tensor(numbers).view(1, 3, 1, 1) for numbers in (MEAN, STD))
    return (values.round_().clamp_(0, 255) / 255.0 - mean) / std


def make_dinov2(setting: Setting) -> DinoExtractor:
    """Return the network with the weights of the hub, or of a folder.

    Raises:
        UsageError: transformers is not installed, or there are no weights.
        DataError: images of these data have other than 1, 3 or 4 channels.
        CheckpointError: the weights are damaged or of another network.
    """
    library = _library()
    to_rgb(torch.zeros(1, *shape_of(setting.train), dtype=torch.uint8), "dinov2")
    source = DEFAULT if setting.weights is None else str(setting.weights)
    if setting.weights is not None and not (setting.weights / "config.json").is_file():
        raise UsageError(f"--weights {source}: holds no config.json; {WHERE}")
    network = _loaded(library, source, setting.weights is not None)
    facts = ExtractorFacts(
        name="dinov2",
        checksum=checksum_of(network.state_dict(), PREPARATION),
        dim=network.config.hidden_size,
        preparation=PREPARATION,
        note=f"weights of {source}",
    )
    return DinoExtractor(facts, network.to(setting.device), setting.device)


def require(weights: Path | None) -> None:
    """Raise what is missing, before anything is computed: transformers, or the folder of weights that was named.

    Raises:
        UsageError: as `make_dinov2`; whether weights can be downloaded is not tried.
    """
    _library()
    if weights is not None and not weights.is_dir():
        raise UsageError(f"--weights {weights}: there is no such folder; {WHERE}")


def _library() -> Any:
    if importlib.util.find_spec("transformers") is None:
        raise UsageError(f"dinov2 needs transformers: {INSTALL}; {WHERE}")
    try:
        importlib.import_module("transformers.models.dinov2.modeling_dinov2")
        return importlib.import_module("transformers")
    except (ImportError, RuntimeError) as error:
        raise UsageError(
            f"dinov2: transformers cannot be imported ({' '.join(str(error).split())}); if torchvision is the reason, "
            "uninstall it or install the one that fits this torch"
        ) from error


def _loaded(library: Any, source: str, is_folder: bool) -> Any:
    options = {"use_safetensors": True, "output_loading_info": True}
    try:
        with _quiet(library):
            network, info = library.Dinov2Model.from_pretrained(source, local_files_only=is_folder, **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        if is_folder:
            raise CheckpointError(f"{source}: not readable weights of DINOv2 ({reason})") from error
        raise UsageError(f"dinov2: {source} cannot be downloaded ({reason}); {WHERE}") from error
    wrong = sorted([*info["missing_keys"], *(str(key) for key in info["mismatched_keys"])])
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise CheckpointError(f"{source}: does not fit DINOv2: without {', '.join(wrong[:5])}{more}")
    return network.float().requires_grad_(False).eval()


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Keep the library's progress bars and log off the terminal: our one line says what is wrong."""
    logging = library.utils.logging
    verbosity, were_shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if were_shown:
            logging.enable_progress_bar()
