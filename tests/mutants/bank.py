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
)
for _file in CHAPTER_FILES:
    import_module(f"tests.mutants.{_file}")

__all__ = ["CHAPTER_FILES", "MUTANTS", "Mutant"]
