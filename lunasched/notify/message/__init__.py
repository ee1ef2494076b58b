"""Notifications of a job: the facts, which are kept until sent, and the text made of them."""

from __future__ import annotations

from lunasched.history.report import Held, Report, ReportKind
from lunasched.notify.message.compose import SUBJECT_MAX, Message, compose

__all__ = ["SUBJECT_MAX", "Held", "Message", "Report", "ReportKind", "compose"]
