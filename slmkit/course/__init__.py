"""What a lab calls: `start` at its top, `check` after an exercise, `record`, `comparison` and `finding` at its end."""

from slmkit.course.checking import check
from slmkit.course.findings import comparison, finding
from slmkit.course.lab import start
from slmkit.course.records import record

__all__ = ["start", "check", "record", "comparison", "finding"]
