"""The zoo: models by role, verified, loaded once, frozen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from benchmark.diffusion.unet import NoiseOfVelocity, UNet, UNetConfig
from benchmark.errors import UsageError, WeightsError
from benchmark.zoo.checkpoint_file import default_weights_dir, verify_file
from benchmark.zoo.denoiser import Denoiser
from benchmark.zoo.loading import load_state, load_strictly
from benchmark.zoo.registry import Kind, ModelCard, model_card, model_ids
from benchmark.zoo.weights_lock import recorded

if TYPE_CHECKING:
    from benchmark.zoo.adain import AdaInDecoder, NormalisedVgg
    from benchmark.zoo.clip import ClipEncoder
    from benchmark.zoo.dino import DinoViT
    from benchmark.zoo.face import FaceModel
    from benchmark.zoo.stylegan2 import StyleGan2
    from benchmark.zoo.vgg import VggFeatures
    from benchmark.zoo.vqgan import VqGan

log = logging.getLogger(__name__)

M = TypeVar("M", bound=nn.Module)


class ModelZoo:
    """Models by the role they play in a protocol.

    A model is loaded at first use, after its file's SHA-256 was verified; it is in ``eval`` mode,
    float32, without gradients to its weights, on ``device``. The same role always gives the same
    object, and roles that share a model id share the object.

    Args:
        roles: role (``denoiser``, ``guide``, ``judge``, ``vgg``, ``dino``, ``face``) -> model id.
        weights_dir: folder of checkpoints that do not ship; default ``weights`` in the cache
            folder.
        device: where the models go.
    """

    def __init__(
        self, roles: Mapping[str, str], weights_dir: Path | None = None,
        device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        self.roles = dict(roles)
        self.weights_dir = weights_dir if weights_dir is not None else default_weights_dir()
        self.device = torch.device(device)
        self._models: dict[str, nn.Module] = {}
        self._hashes: dict[str, str] = {}
        self._used: list[str] = []

    def to(self, device: torch.device | str) -> None:
        """Move the zoo; models that are loaded already go along."""
        self.device = torch.device(device)
        for model in self._models.values():
            model.to(self.device)

    def with_roles(self, roles: Mapping[str, str]) -> ModelZoo:
        """A zoo of other roles that shares this one's models and the hashes found so far."""
        other = ModelZoo(roles, self.weights_dir, self.device)
        other._models, other._hashes = self._models, self._hashes
        return other

    def loaded(self) -> dict[str, nn.Module]:
        """Models by id that were asked for so far; they are shared, and must stay as they are."""
        return dict(self._models)

    def denoiser(self) -> Denoiser:
        """The U-Net of role ``denoiser``, channels-last."""
        return self._get("denoiser", "unet", Denoiser)

    def clip(self, role: str) -> ClipEncoder:
        """The CLIP of a role: ``guide`` for methods, ``judge`` for metrics."""
        from benchmark.zoo.clip import ClipEncoder

        return self._get(role, "clip", ClipEncoder)

    def vgg(self) -> VggFeatures:
        """The VGG of role ``vgg``."""
        from benchmark.zoo.vgg import VggFeatures

        return self._get("vgg", "vgg", VggFeatures)

    def dino(self) -> DinoViT:
        """The ViT of role ``dino``."""
        from benchmark.zoo.dino import DinoViT

        return self._get("dino", "dino", DinoViT)

    def face(self, role: str = "face") -> FaceModel:
        """A face embedder: ``face``, or ``face-facenet`` where a protocol names a second one."""
        from benchmark.zoo.face import FaceModel

        kind = self._card(role).kind
        found = self._get(role, kind if kind in ("facenet", "arcface") else "face", nn.Module)
        assert isinstance(found, FaceModel)
        return found

    def vqgan(self) -> VqGan:
        """The vector-quantising autoencoder of role ``vqgan``."""
        from benchmark.zoo.vqgan import VqGan

        return self._get("vqgan", "vqgan", VqGan)

    def generator(self) -> StyleGan2:
        """The StyleGAN2 of role ``generator``; its card says what it draws."""
        from benchmark.zoo.stylegan2 import StyleGan2

        return self._get("generator", "stylegan2", StyleGan2)

    def adain_decoder(self) -> AdaInDecoder:
        """The decoder of role ``adain``, which inverts the encoder of role ``adain-encoder``."""
        from benchmark.zoo.adain import AdaInDecoder

        return self._get("adain", "adain", AdaInDecoder)

    def adain_encoder(self) -> NormalisedVgg | VggFeatures:
        """The features of role ``adain-encoder``: a VGG of either kind, for images in [0, 1]."""
        from benchmark.zoo.adain import NormalisedVgg

        role = "adain-encoder"
        if self._card(role).kind == "vgg":
            from benchmark.zoo.vgg import VggFeatures

            return self._get(role, "vgg", VggFeatures)
        return self._get(role, "vgg-normalised", NormalisedVgg)

    def verified_hashes(self, roles: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
        """What plays each role, for the manifest; files not verified yet are verified now.

        Args:
            roles: default: the roles that were asked for so far.

        Returns:
            role -> ``{"id", "file", "sha256", "pinned", "licence"}``; ``pinned`` is False where
            the registry knows no hash to compare with.

        Raises:
            UsageError: a role the protocol does not fill, or fills with a model that has no loader.
            WeightsError: a file that is missing or not the right one.
        """
        found: dict[str, dict[str, Any]] = {}
        for role in self._used if roles is None else roles:
            card = self._card(role)
            found[role] = {
                "id": card.id,
                "file": card.file,
                "sha256": self._verify(card),
                "pinned": card.sha256 is not None,
                "licence": card.licence,
            }
        return found

    def _card(self, role: str) -> ModelCard:
        if role not in self.roles:
            raise UsageError(
                f"the protocol names no model for the role {role!r}; it fills: "
                f"{', '.join(sorted(self.roles))}"
            )
        card = model_card(self.roles[role])
        require_loader(card)
        return card

    def _verify(self, card: ModelCard) -> str:
        if card.id not in self._hashes:
            path = card.path(self.weights_dir)
            self._hashes[card.id] = verify_file(card, path)
            if card.sha256 is None and recorded(card, path.parent) is None:
                log.warning(
                    "%s is used as it is: no hash of model %r is known to compare with; `bench "
                    "weights add` records one",
                    path,
                    card.id,
                )
        return self._hashes[card.id]

    def _load(self, card: ModelCard) -> nn.Module:
        self._verify(card)
        return build(card, card.path(self.weights_dir))

    def _get(self, role: str, kind: Kind, model_type: type[M]) -> M:
        card = self._card(role)
        if card.kind != kind:
            raise UsageError(
                f"the role {role!r} needs a model of kind {kind!r}, but {card.id!r} is of kind "
                f"{card.kind!r}"
            )
        if card.id not in self._models:
            # some constructors draw initial weights, which the stored ones then replace
            with torch.random.fork_rng(devices=[]):
                model = self._load(card)
            model = model.eval().requires_grad_(False).to(self.device, torch.float32)
            self._models[card.id] = model
        if role not in self._used:
            self._used.append(role)
        found = self._models[card.id]
        assert isinstance(found, model_type)
        return found


def build(card: ModelCard, path: Path) -> nn.Module:
    """The model of a card with the weights of a file, on the CPU.

    Raises:
        UsageError: there is no loader for models of its kind.
        WeightsError: the file is unsafe or damaged, or does not fit the card's architecture.
    """
    require_loader(card)
    state = load_state(path)
    try:
        return assemble(card, state)
    except WeightsError as error:
        raise WeightsError(f"{path} (model {card.id!r}): {error}") from error


def assemble(card: ModelCard, state: dict[str, Tensor]) -> nn.Module:
    """The model of a card with given weights, on the CPU.

    Args:
        state: tensors by the names of the card's checkpoint.

    Raises:
        WeightsError: they do not fit the card's architecture.
    """
    return _BUILDERS[card.kind](card, state)


def _denoiser(card: ModelCard, state: dict[str, Tensor]) -> Denoiser:
    try:
        config = UNetConfig.model_validate(card.architecture)
    except ValidationError as error:
        first = error.errors()[0]
        raise WeightsError(
            f"the architecture in its card is wrong: {'.'.join(map(str, first['loc']))}: "
            f"{first['msg']}"
        ) from error
    # no weights are drawn: the global random state stays as it is, and 2 GB models load quickly
    with torch.device("meta"):
        unet = UNet(config)
    unet = unet.to_empty(device="cpu")
    if unet.noise_of is not None:
        unet.noise_of = NoiseOfVelocity()  # its table is in no checkpoint, and to_empty emptied it
    load_strictly(unet, state, "the U-Net architecture in its card")
    unet = unet.to(memory_format=torch.channels_last)
    try:
        return Denoiser(unet, card.classes)
    except ValueError as error:
        raise WeightsError(f"its card is wrong: {error}") from error


def _clip(card: ModelCard, state: dict[str, Tensor]) -> nn.Module:
    from benchmark.zoo.clip import ClipEncoder

    return ClipEncoder.from_state_dict(state, str(card.architecture), card.id)


def _vgg(card: ModelCard, state: dict[str, Tensor]) -> nn.Module:
    from benchmark.zoo.vgg import VggFeatures

    return VggFeatures.from_state_dict(state)


def _dino(card: ModelCard, state: dict[str, Tensor]) -> nn.Module:
    from benchmark.zoo.dino import DinoViT

    return DinoViT.from_state_dict(state)


def _face(card: ModelCard, state: dict[str, Tensor]) -> nn.Module:
    from benchmark.zoo.face import FaceEmbedder

    return FaceEmbedder.from_state_dict(state)


def _facenet(card: ModelCard, state: dict[str, Tensor]) -> nn.Module:
    from benchmark.zoo.face_official import FaceNet

    return FaceNet.from_state_dict(state)


def _arcface(card: ModelCard, state: dict[str, Tensor]) -> nn.Module:
    from benchmark.zoo.face_official import ArcFaceIrSe50

    return ArcFaceIrSe50.from_state_dict(state)


def _vqgan(card: ModelCard, state: dict[str, Tensor]) -> nn.Module:
    from benchmark.zoo.vqgan import VqGan

    return VqGan.from_state_dict(state, card.architecture)


def _stylegan2(card: ModelCard, state: dict[str, Tensor]) -> nn.Module:
    from benchmark.zoo.stylegan2 import StyleGan2

    return StyleGan2.from_state_dict(state, card.architecture)


def _adain(card: ModelCard, state: dict[str, Tensor]) -> nn.Module:
    from benchmark.zoo.adain import AdaInDecoder

    return AdaInDecoder.from_state_dict(state)


def _normalised_vgg(card: ModelCard, state: dict[str, Tensor]) -> nn.Module:
    from benchmark.zoo.adain import NormalisedVgg

    return NormalisedVgg.from_state_dict(state)


def _inception(card: ModelCard, state: dict[str, Tensor]) -> nn.Module:
    from benchmark.metrics.inception import FidInception

    return FidInception.from_state_dict(state)


# imports are made where they are needed: open_clip and facenet take seconds
_BUILDERS: dict[Kind, Callable[[ModelCard, dict[str, Tensor]], nn.Module]] = {
    "unet": _denoiser,
    "clip": _clip,
    "vgg": _vgg,
    "dino": _dino,
    "face": _face,
    "facenet": _facenet,
    "arcface": _arcface,
    "vqgan": _vqgan,
    "stylegan2": _stylegan2,
    "adain": _adain,
    "vgg-normalised": _normalised_vgg,
    "inception": _inception,
}


def file_status(card: ModelCard, path: Path) -> str:
    """What a checkpoint that is right was compared with.

    ``verified``: the registry's hash; ``locked``: that of the first download; ``unpinned``: none.

    Raises:
        WeightsError: missing, damaged or another file.
    """
    verify_file(card, path)
    if card.sha256 is not None:
        return "verified"
    return "locked" if recorded(card, path.parent) is not None else "unpinned"


def can_load(card: ModelCard) -> bool:
    """Whether this version builds models of the card's kind."""
    return card.kind in _BUILDERS


def require_loader(card: ModelCard) -> None:
    """Refuse a model that is only registered.

    Raises:
        UsageError: this version builds no model of the card's kind.
    """
    if not can_load(card):
        raise UsageError(
            f"the model {card.id!r} is registered, but this version of stylebench has no loader "
            f"for the kind {card.kind!r}; it loads {', '.join(sorted(_BUILDERS))}"
        )


def inventory(weights_dir: Path | None = None) -> list[dict[str, Any]]:
    """Every registered model with its place and state, sorted by name.

    ``status`` is that of :func:`file_status`, or ``not present``, or ``damaged`` (the reason is in
    ``problem``). Hashing a large file takes seconds.
    """
    folder = weights_dir if weights_dir is not None else default_weights_dir()
    rows = []
    for model_id in model_ids():
        card = model_card(model_id)
        path = card.path(folder)
        status, problem = "not present", None
        if path.is_file():
            try:
                status = file_status(card, path)
            except WeightsError as error:
                status, problem = "damaged", str(error)
        rows.append(
            {
                "name": card.id,
                **card.model_dump(mode="json", exclude={"id"}),
                "status": status,
                "path": str(path),
                "problem": problem,
            }
        )
    return rows
