"""The plugin of pytest: tiers and compile budget of laws, fixtures, header and summary."""

import dataclasses
import functools
import itertools
import sys
from collections import Counter
from collections.abc import Generator, Iterable
from importlib import metadata
from typing import Any

import pytest

from lamda_hooks.compiles import Compiles, NoRecompile
from lamda_hooks.golden import NAME, Golden

TIERS = ("abstract", "numpy", "xla")
SHOWN = ("lamda", "jax", "jaxlib", "hypothesis")

COMPILES = pytest.StashKey[Compiles]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lamda", "laws of compositions (lamda)")
    group.addoption(
        "--lamda-tier", choices=TIERS, default=TIERS[-1],
        help="what laws may take: nothing computed, numpy, or XLA; those above are skipped",
    )  # fmt: skip
    group.addoption(
        "--lamda-max-compiles", type=int, metavar="N",
        help="after N compilations in a process, skip the laws that need XLA",
    )  # fmt: skip
    group.addoption(
        "--lamda-write-golden", action="store_true",
        help=f"write the addresses that golden_address compares into {NAME}",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("lamda_write_golden") and config.getoption("numprocesses", None):
        raise pytest.UsageError("--lamda-write-golden writes one file: run it without -n")
    config.stash[COMPILES] = Compiles()


def pytest_unconfigure(config: pytest.Config) -> None:
    if COMPILES in config.stash:
        config.stash[COMPILES].stop()


def pytest_report_header() -> str:
    return ", ".join(f"{name} {_version(name)}" for name in SHOWN)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


@pytest.fixture
def no_recompile(request: pytest.FixtureRequest) -> NoRecompile:
    """``with no_recompile: ...`` fails if XLA compiles; without ``with``, for the whole test."""
    return NoRecompile(request.config.stash[COMPILES])


@pytest.fixture(scope="module")
def golden_address(request: pytest.FixtureRequest) -> Golden:
    """``golden_address(name, model)`` compares an address with the committed one."""
    write = bool(request.config.getoption("lamda_write_golden"))
    return Golden(request.path.with_name(NAME), write)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    report = yield
    _listen(collector.config)
    return report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    most = config.getoption("lamda_tier")
    for item in items:
        law = _law(item)
        if law is not None and TIERS.index(law.tier.value) > TIERS.index(most):
            item.user_properties.append(("lamda_skipped", "tier"))
            reason = f"a law of tier {law.tier.value}, and --lamda-tier={most}"
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_runtest_setup(item: pytest.Item) -> None:
    _listen(item.config)
    law, most = _law(item), item.config.getoption("lamda_max_compiles")
    if law is None or law.tier.value != "xla":
        return
    _keep_compiled(item.config)
    if most is not None and len(item.config.stash[COMPILES]) >= most:
        item.user_properties.append(("lamda_skipped", "compiles spent"))
        pytest.skip(f"a law of tier xla, and --lamda-max-compiles={most} are done")


def _keep_compiled(config: pytest.Config) -> None:
    """Let JAX keep what it compiles in pytest's cache, unless it keeps it somewhere already."""
    if not hasattr(config, "cache"):
        return
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("lamda-xla")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        compilation_cache.reset_cache()  # it is asked once whether there is one


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    __tracebackhide__ = True
    law, compiles = _law(item), item.config.stash[COMPILES]
    funcargs: dict[str, Any] = getattr(item, "funcargs", {})
    if law is None:
        result = yield
        guard = funcargs.get("no_recompile")
        if isinstance(guard, NoRecompile) and not guard.used:
            guard.require()
        return result
    counted: Counter[str] = Counter()
    funcargs["law"] = dataclasses.replace(law, decide=_counting(law.decide, counted))
    before = len(compiles)
    try:
        return (yield)
    finally:
        _listen(item.config)
        item.user_properties.append(("lamda_examples", counted["examples"]))
        item.user_properties.append(("lamda_compiles", len(compiles) - before))


def _counting(decide: Any, counted: Counter[str]) -> Any:
    """The function that decides a law, counting how often it is asked."""

    @functools.wraps(decide)
    def counting(draw: Any) -> Any:
        counted["examples"] += 1
        return decide(draw)

    return counting


def _law(item: pytest.Item) -> Any:
    """The law that a test checks, or None; that module is loaded where there is one."""
    module = sys.modules.get("lamda.testing.law")
    callspec = getattr(item, "callspec", None)
    given = None if callspec is None else callspec.params.get("law")
    return given if module is not None and isinstance(given, module.Law) else None


def _listen(config: pytest.Config) -> None:
    """Count what is compiled, from when somebody has imported JAX."""
    if "jax" in sys.modules:
        config.stash[COMPILES].listen()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    text, skipped = _summary(terminalreporter.stats.values(), config)
    if text:
        terminalreporter.write_line(f"lamda: {text}", yellow=skipped, green=not skipped)


def _summary(stats: Iterable[list[Any]], config: pytest.Config) -> tuple[str, bool]:
    """What was checked of laws, and what was skipped, told by the reports of all processes."""
    done: Counter[str] = Counter()
    for report in itertools.chain.from_iterable(stats):
        told = dict(getattr(report, "user_properties", ()))
        if "lamda_examples" in told and report.when == "call":
            done.update(laws=1, examples=told["lamda_examples"], compiles=told["lamda_compiles"])
        if "lamda_skipped" in told and report.when == "setup":
            done[told["lamda_skipped"]] += 1
    above = f"{done['tier']} skipped above --lamda-tier={config.getoption('lamda_tier')}"
    spent = f"{done['compiles spent']} skipped by --lamda-max-compiles"
    parts = [f"{done['laws']} laws, {done['examples']} examples, {done['compiles']} compiles"]
    parts += [above] * bool(done["tier"]) + [spent] * bool(done["compiles spent"])
    return (", ".join(parts) if done else ""), len(parts) > 1
