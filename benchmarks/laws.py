"""How long laws take: every law that XLA does not decide, of all models, a number of examples each.

    python benchmarks/laws.py [EXAMPLES]

Prints each law with its milliseconds an example, and the sum.
"""

import sys
import time

from lamda.testing import Subject, Tier, collect, run
from lamda.testing.suites import SUITES


def main(examples: int) -> None:
    subject = Subject.of()
    total, start = 0, time.perf_counter()
    for law in collect(SUITES.values()):
        if law.tier is Tier.XLA:
            continue
        outcome = run(law, subject, examples, seed=0)
        total += outcome.examples
        each = 1000 * outcome.seconds / max(outcome.examples, 1)
        said = "" if outcome.holds else f"  BROKEN: {str(outcome.error)[:200]}"
        print(f"{each:8.1f} ms  {law.tier.value:<8}  {law}{said}", flush=True)
    seconds = time.perf_counter() - start
    print(f"{total} examples in {seconds:.1f} s: {1000 * seconds / total:.1f} ms each")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
