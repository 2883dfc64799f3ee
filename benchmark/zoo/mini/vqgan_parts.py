"""The mini VQGAN while it is trained, with the running sums behind its codes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmark.zoo.vqgan import VqGan, VqGanConfig

from .group_norm import use_fast_group_norm

CONFIG = VqGanConfig(
    ch=16,
    ch_mult=(1, 2, 4),
    num_res_blocks=1,
    attn_resolutions=(),
    resolution=64,
    z_channels=32,
    embed_dim=16,
    n_embed=1024,
    norm_groups=8,
)
CODE_DECAY = 0.99
DEAD_BELOW = 0.1  # uses a step (2 would be the mean), averaged


class VqGanInTraining(nn.Module):
    """The autoencoder with the running sums behind its codes.

    The codes are moving averages of the latents that chose them (van den Oord, Vinyals and
    Kavukcuoglu 2017, appendix A.1), not trained by gradients; codes that fall out of use are put on
    a latent of the batch.
    """

    counts: Tensor
    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.vqgan = VqGan(CONFIG)
        self.vqgan.quantize.embedding.weight.requires_grad_(False)
        use_fast_group_norm(self)
        self.register_buffer("counts", torch.ones(CONFIG.n_embed))
        self.register_buffer("sums", torch.zeros(CONFIG.n_embed, CONFIG.embed_dim))

    @torch.no_grad()
    def place_codes(self, z: Tensor, generator: torch.Generator) -> None:
        """Put every code on a latent of the batch."""
        self._place(torch.arange(CONFIG.n_embed), z.movedim(1, -1).flatten(0, -2), generator)

    @torch.no_grad()
    def move_codes(self, z: Tensor, indices: Tensor, generator: torch.Generator) -> float:
        """Move the codes toward the latents that chose them; the share of codes in use."""
        flat = z.movedim(1, -1).flatten(0, -2)
        chosen = indices.flatten()
        counts = torch.bincount(chosen, minlength=CONFIG.n_embed).to(flat.dtype)
        sums = torch.zeros_like(self.sums).index_add_(0, chosen, flat)
        self.counts.lerp_(counts, 1 - CODE_DECAY)
        self.sums.lerp_(sums, 1 - CODE_DECAY)
        self.vqgan.quantize.embedding.weight.copy_(self.sums / self.counts.clamp(min=1e-3)[:, None])
        dead = (self.counts < DEAD_BELOW).nonzero().flatten()
        self._place(dead, flat, generator)
        return 1 - len(dead) / CONFIG.n_embed

    def _place(self, codes: Tensor, flat: Tensor, generator: torch.Generator) -> None:
        places = torch.randperm(len(flat), generator=generator)[: len(codes)].to(flat.device)
        self.vqgan.quantize.embedding.weight[codes] = flat[places]
        self.counts[codes] = 1.0
        self.sums[codes] = flat[places]
