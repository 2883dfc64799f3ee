"""A report as a static site: one folder that works from ``file://`` and asks for nothing else."""

from reports.site.write import write_site

__all__ = ["write_site"]
