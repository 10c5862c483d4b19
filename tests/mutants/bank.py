"""The bank: importing this module registers the mutants of every chapter."""

from __future__ import annotations

from importlib import import_module

from tests.mutants.registry import MUTANTS, Mutant

CHAPTER_FILES = (
    "operator",
    "operator_parameters",
    "shapes",
    "padding",
    "padding_modes",
    "gradients",
    "gradients_kernel",
    "gradients_subsets",
    "transforms",
    "transforms_vmap",
    "numerics",
    "numerics_long",
    "numerics_range",
    "special_values",
    "special_gradients",
    "validation",
    "validation_more",
    "validation_after",
    "layouts",
    "state",
    "aliases",
    "process",
    "surfaces",
    "combined",
    "kernels",
    "more_gradients",
    "wrappers",
    "wrappers_more",
    "compiled",
    "threads",
    "blocked",
    "long_kernels",
    "sequences",
    "recognisers",
    "results",
    "learning",
    "blind.reports_values",
    "blind.reports_gradients",
    "blind.reports_transforms",
    "blind.reports_numbers",
    "blind.reports_calls",
    "blind.reports_state",
    "blind.kernels_values",
    "blind.kernels_gradients",
    "blind.kernels_numbers",
    "blind.kernels_calls",
    "blind.kernels_state",
    "blind.more_kernels_values",
    "blind.more_kernels_gradients",
    "blind.more_kernels_numbers",
    "blind.more_kernels_calls",
    "blind.layers_gradients",
    "blind.layers_maps",
    "blind.layers_compiled",
    "blind.layers_calls",
    "blind.layers_state",
)
for _file in CHAPTER_FILES:
    import_module(f"tests.mutants.{_file}")

__all__ = ["CHAPTER_FILES", "MUTANTS", "Mutant"]
