"""interlock.yaml: its values, its shape, and the reading of it.

Not what is done with them. Law: `import interlock.config` needs neither pydantic nor YAML; the modules that read a file
(`build.py` and what it stands on) are imported when one is loaded.
"""

from __future__ import annotations

from interlock.config.config import Config, load, tool_fields
from interlock.config.values import (
    DEFAULTS,
    ApprovalSettings,
    Architecture,
    AuditSettings,
    Caps,
    DoctorSettings,
    LoggingSettings,
    Price,
    Quota,
    Recording,
    RunBudget,
    SizeLimits,
    TelemetrySettings,
    ToolDeclaration,
    Upstream,
)

__all__ = [
    "Config",
    "load",
    "tool_fields",
    "ApprovalSettings",
    "Architecture",
    "AuditSettings",
    "Caps",
    "DEFAULTS",
    "DoctorSettings",
    "LoggingSettings",
    "Price",
    "Quota",
    "Recording",
    "RunBudget",
    "SizeLimits",
    "TelemetrySettings",
    "ToolDeclaration",
    "Upstream",
]
