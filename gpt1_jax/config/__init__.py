"""The configuration of a run: its fields, their rules, and conversions.

    declaration  the roles of fields, and the metadata of a field
    fields       the frozen dataclasses, where each field is declared once
    conversion   ConfigDict, JSON and command line to RunConfig and back
    rules        validation, resuming, the fingerprint

Nothing here touches a device or a file.
"""

from gpt1_jax.config.conversion import (
    check_path,
    experiment_words,
    from_mapping,
    inherit,
    parse,
    replace,
    to_config_dict,
)
from gpt1_jax.config.fields import (
    COMPUTE_DTYPES,
    FIELDS,
    SOURCES,
    STORYWORLD,
    DataConfig,
    InitConfig,
    MeshConfig,
    ModelConfig,
    OptimConfig,
    Role,
    RunConfig,
    TaskConfig,
    TrainConfig,
    choices,
    flatten,
    paths_of,
    role,
)
from gpt1_jax.config.rules import (
    FREE_ROLES,
    checked,
    conflicts,
    fingerprint,
    is_longer,
    validate,
    warnings,
)

__all__ = [
    "COMPUTE_DTYPES",
    "FIELDS",
    "FREE_ROLES",
    "SOURCES",
    "STORYWORLD",
    "DataConfig",
    "InitConfig",
    "MeshConfig",
    "ModelConfig",
    "OptimConfig",
    "Role",
    "RunConfig",
    "TaskConfig",
    "TrainConfig",
    "check_path",
    "checked",
    "choices",
    "conflicts",
    "experiment_words",
    "fingerprint",
    "flatten",
    "from_mapping",
    "inherit",
    "is_longer",
    "parse",
    "paths_of",
    "replace",
    "role",
    "to_config_dict",
    "validate",
    "warnings",
]
