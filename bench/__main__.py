"""Run the benchmarks named on the command line, or all of them; end with one table."""

import importlib
import sys

from bench.measure import Figure, show

ALL = (
    "run_task",
    "density",
    "describe_tasks",
    "pull",
    "gvisor",
    "exec",
    "microvm",
    "access_point",
    "services",
    "balancer",
    "resolver",
)


def main() -> None:
    results: list[tuple[str, list[Figure]]] = []
    for name in sys.argv[1:] or ALL:
        module = importlib.import_module(f"bench.{name}")
        print(f"== {name}: {(module.__doc__ or '').splitlines()[0]}", flush=True)
        results.append((name, list(module.run())))
        show(*results[-1])
    print("\n===== all =====")
    for title, figures in results:
        show(title, figures)


if __name__ == "__main__":
    main()
