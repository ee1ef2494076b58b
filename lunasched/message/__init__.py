"""What is told of a job: the facts, which are kept until it is sent, and the text made of them."""

from __future__ import annotations

from lunasched.message.compose import SUBJECT_MAX, Message, compose
from lunasched.message.report import Held, Kind, Report

__all__ = ["SUBJECT_MAX", "Held", "Kind", "Message", "Report", "compose"]
