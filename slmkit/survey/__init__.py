"""The survey as data: its models, data sets, scores and timings as tables, its claims as rows, its models to build.

Each table is a CSV file beside this module, one source of truth for code, prose and figures.
"""

from slmkit.survey.tables import capability, claims, datasets, models, runtime
from slmkit.survey.zoo import available, config

__all__ = ["models", "datasets", "capability", "runtime", "claims", "config", "available"]
