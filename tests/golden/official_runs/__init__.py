"""One module per method for :mod:`tests.golden.compare_official`.

Each has ``CHECKOUTS`` (names of folders, see the maker scripts), ``STEPS``, ``NOTE`` (what is
compared), ``official(folders)`` and ``ours()``. Both load the models and return a job.
"""

RUNS = {
    "zecon": "zecon",
    "ours": "ours",
    "adain": "adain",
    "gatys": "gatys",
    "clipstyler": "clipstyler",
    "clipstyler-fast": "clipstyler_fast",
    "diffusionclip": "diffusionclip",
    "diffuseit": "diffuseit",
    "vqgan-clip": "vqgan_clip",
    "styleclip": "styleclip",
    "stylegan-nada": "stylegan_nada",
}
"""Methods and the modules here that run them."""
