"""Knobs of our sampler; every ablation of the paper is a value in here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from benchmark.guidance.query_attention import WindowLayout
from benchmark.interface import MethodConfig


class QSAttnConfig(MethodConfig):
    """Knobs of :class:`benchmark.ours.QSAttnStyleTransfer`.

    In the descriptions "paper" is Hwang's thesis, "ZeCon" and "QS-Attn" the official codes. Weights
    have no unit: they multiply losses that are means over pixels, crops or anchors.
    """

    forward_process: Literal["ddim", "ddpm"] = Field(
        default="ddim", description="inversion (ddim, paper's default) or noising (ddpm)"
    )
    reverse_process: Literal["ddpm", "ddim"] = Field(
        default="ddpm", description="stochastic (ddpm, paper's default) or deterministic sampling"
    )
    respacing: int = Field(
        default=50, ge=2, le=1000, description="T', steps of the respaced chain (paper: 50)"
    )
    t0: int = Field(default=25, ge=1, description="steps of the reverse process (paper: 25 of 50)")
    eta: float = Field(
        default=0.0, ge=0.0, le=1.0, description="stochasticity of the DDIM reverse, 1 is DDPM's"
    )
    variance: Literal["posterior", "learned"] = Field(
        default="posterior",
        description="noise of DDPM steps: sigma_t (paper) or the model's own (ZeCon)",
    )
    start: Literal["inverted", "renoised"] = Field(
        default="inverted",
        description="begin at the inverted latent, or use it as the noise of a q_sample (ZeCon)",
    )
    inversion: Literal["aligned", "upstream"] = Field(
        default="aligned",
        description="aligned: t0 - 1 passes, which end at the noise level where the reverse "
        "begins; upstream: t0 passes, one level above it (ZeCon)",
    )
    gradient: Literal["x0", "xt"] = Field(
        default="x0",
        description="gradient at x0_hat (paper, eq. 8), or through the denoiser to x_t (ZeCon)",
    )
    guidance_scale: float = Field(
        default=1.0, ge=0.0,
        description="factor of the gradient; 1 moves as far as guided diffusion's conditioning",
    )  # fmt: skip
    loss_gradients: Literal["weighted", "unit"] = Field(
        default="weighted",
        description="weighted: gradient of the weighted losses (paper); unit: each loss's gradient "
        "has a root mean square of 1 before its weight, but range's, which is to vanish inside",
    )
    clip_global: float = Field(
        default=0.0, ge=0.0, description="weight of the global CLIP loss of the whole image (ZeCon)"
    )
    clip_global_patch: float = Field(
        default=10000.0, ge=0.0, description="weight of the global CLIP loss of crops (ZeCon)"
    )
    clip_dir: float = Field(
        default=0.0, ge=0.0, description="weight of the directional CLIP loss, whole image (ZeCon)"
    )
    clip_dir_patch: float = Field(
        default=20000.0, ge=0.0, description="weight of the directional CLIP loss of crops (ZeCon)"
    )
    contrastive: float = Field(
        default=500.0, ge=0.0, description="weight of InfoNCE on anchors (ZeCon)"
    )
    mse: float = Field(default=5000.0, ge=0.0, description="weight of the pixels' MSE (ZeCon)")
    mse_tone: float = Field(
        default=1.0, ge=0.0, le=1.0,
        description="how much the MSE sees of slow changes of brightness and hue, those that a "
        "blur over an eighth of the side leaves; below 1 a style may change the tone of whole "
        "areas; 1: all (ZeCon)",
    )  # fmt: skip
    vgg: float = Field(default=100.0, ge=0.0, description="weight of the VGG features' MSE (ZeCon)")
    range: float = Field(
        default=50.0, ge=0.0, description="weight of the penalty outside of [-1, 1] (ZeCon)"
    )
    n_patches: int = Field(default=32, ge=1, description="N, crops a step (paper: 32 and 96)")
    patch_min: float = Field(
        default=0.01, gt=0, le=1, description="smallest crop as a share of the area (ZeCon)"
    )
    patch_max: float = Field(
        default=0.3, gt=0, le=1, description="largest crop as a share of the area (ZeCon)"
    )
    augment: bool = Field(
        default=True, description="random affine and perspective maps of crops (paper, ZeCon)"
    )
    crop_noise: float = Field(
        default=0.0, ge=0.0,
        description="standard deviation of the noise on what CLIP sees, new at each step: its "
        "gradient is then an average over near pictures, and changes more of what is seen "
        "(SmoothGrad; VQGAN-CLIP's noise_fac); paper, ZeCon: 0",
    )  # fmt: skip
    clip_crops: Literal["shared", "separate"] = Field(
        default="shared",
        description="the same crops for the global and the directional loss, or others (ZeCon), "
        "which doubles the work of CLIP",
    )
    attention: Literal["global", "local", "local_global", "none"] = Field(
        default="local_global",
        description="which anchors are selected and how they are routed (paper's best: "
        "local_global); none: random anchors (ZeCon)",
    )
    window: int = Field(
        default=7, ge=1, description="side of the local attention, feature pixels, odd (QS-Attn: 7)"
    )
    window_layout: WindowLayout = Field(
        default="spatial", description="upstream repeats a mix-up of axes in QS-Attn's code"
    )
    anchors: int = Field(default=256, ge=2, description="anchors of a layer (QS-Attn, ZeCon: 256)")
    encoder_blocks: tuple[int, ...] = Field(
        default=(0, 2, 5, 8, 11), min_length=1, description="input blocks of the U-Net (ZeCon)"
    )
    attention_from: int = Field(
        default=3, ge=0,
        description="place in encoder_blocks from which anchors are selected; those before take "
        "random ones (QS-Attn: 3)",
    )  # fmt: skip
    temperature: float = Field(default=0.07, gt=0, description="of InfoNCE (QS-Attn, ZeCon: 0.07)")
    vgg_layers: tuple[str, ...] = Field(
        default=("conv1_1", "conv2_1"), min_length=1, description="layers of the VGG loss (ZeCon)"
    )

    @model_validator(mode="after")
    def _consistent(self) -> QSAttnConfig:
        if self.t0 > self.respacing:
            raise ValueError(f"t0 ({self.t0}) cannot exceed respacing ({self.respacing})")
        if self.patch_min > self.patch_max:
            raise ValueError(
                f"patch_min ({self.patch_min}) cannot exceed patch_max ({self.patch_max})"
            )
        if self.window % 2 == 0:
            raise ValueError(f"window must be odd, got {self.window}")
        if self.start == "renoised" and self.forward_process == "ddpm":
            raise ValueError(
                "start=renoised needs forward_process=ddim: noising leaves no latent to reuse"
            )
        blocks = self.encoder_blocks
        if blocks[0] < 0 or list(blocks) != sorted(set(blocks)):
            raise ValueError(f"encoder_blocks must be increasing, got {list(blocks)}")
        return self
