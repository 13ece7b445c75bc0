"""Preprocessing: guide assignment."""

from pertorch.pp._compare import Comparison, compare_assignments
from pertorch.pp._guides import GuideAssignment
from pertorch.pp._summary import AssignmentSummary, assignment_summary

__all__ = ["AssignmentSummary", "Comparison", "GuideAssignment", "assignment_summary", "compare_assignments"]
