"""All programs by their names: each takes a `Task` on native arrays and returns the list of its native results."""

from __future__ import annotations

from collections.abc import Callable

from conv1d_cts.conformance.isolation.programs import compiled, derivatives, in_place, maps, threads
from conv1d_cts.conformance.isolation.programs.task import Native, Task

PROGRAMS: dict[str, Callable[[Task], list[Native]]] = {
    program.__name__: program
    for program in (
        derivatives.conv1d,
        derivatives.vjp,
        derivatives.jvp,
        derivatives.vjp_of_vjp,
        derivatives.vjp_of_vjp_alone,
        derivatives.jvp_of_vjp,
        derivatives.vjp_of_sum,
        derivatives.each,
        derivatives.vjp_of_each,
        derivatives.vjp_of_chain,
        derivatives.accumulated,
        derivatives.fit,
        maps.vmap,
        maps.mapped_vjp,
        maps.vmap_of_jvp,
        maps.jvp_of_vmap,
        maps.compiled_vmap,
        maps.vmap_of_compiled,
        maps.vjp_of_vmap,
        compiled.compiled,
        compiled.compiled_again,
        compiled.compiled_each,
        compiled.vjp_of_compiled,
        compiled.vjp_through_compiled,
        compiled.compiled_vjp,
        compiled.compiled_jvp,
        in_place.written_to,
        in_place.compiled_written_to,
        in_place.written_to_vjp,
        in_place.written_over,
        threads.at_once,
        threads.compiled_at_once,
        threads.vjp_at_once,
    )
}
