"""Facts of methods and datasets from their cards, where installed, and links to sources."""

from __future__ import annotations

import re

from benchmark import registry
from benchmark.errors import BenchError
from benchmark.interface import MethodCard
from data.cards import DatasetCard


def method_card(name: str) -> MethodCard | None:
    """The card of a method; None if it is not installed here."""
    try:
        card = getattr(registry.load(registry.METHODS, name), "card", None)
    except BenchError:
        return None
    return card if isinstance(card, MethodCard) else None


def dataset_card(name: str) -> DatasetCard | None:
    """The card of a dataset; None if it is not installed here."""
    try:
        card = getattr(registry.load(registry.DATASETS, name), "card", None)
    except BenchError:
        return None
    return card if isinstance(card, DatasetCard) else None


def link_of(text: str) -> str | None:
    """The page that an arXiv id or a GitHub repository with commit names, if ``text`` holds one.

    >>> link_of("arXiv 2303.08622")
    'https://arxiv.org/abs/2303.08622'
    >>> link_of("github.com/YSerin/ZeCon@51e679e")
    'https://github.com/YSerin/ZeCon/tree/51e679e'
    >>> link_of("javascript:alert(1)") is None
    True
    """
    paper = re.search(r"arXiv[ :](\d{4}\.\d{4,5})(?!\d)", text, re.ASCII)
    if paper:
        return f"https://arxiv.org/abs/{paper[1]}"
    code = re.fullmatch(r"(github\.com/[\w.-]+/[\w.-]+)@([0-9a-f]{7,40})", text, re.ASCII)
    return f"https://{code[1]}/tree/{code[2]}" if code else None
