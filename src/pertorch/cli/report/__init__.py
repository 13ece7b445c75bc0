"""The main job, from a file to a page: steps that each find something, and the section that tells it."""

from pertorch.cli.report._compose import PAGE, plain_summary, writers
from pertorch.cli.report._files import Files
from pertorch.cli.report._options import Options
from pertorch.cli.report._pipeline import Findings, find
from pertorch.cli.report._record import Record

__all__ = ["PAGE", "Files", "Findings", "Options", "Record", "find", "plain_summary", "writers"]
