"""House rules over every driver of the registry. What is excused from a rule stands in a visible list."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import pytest

from drivers import roles
from drivers.links import parse_resource
from drivers.registry import DRIVERS, describe, driver_class, open_instrument

EVERY_DRIVER = pytest.mark.parametrize("driver", sorted(DRIVERS))
UNITS = re.compile(r"_(ps|ns|s|hz|db|dbm|v|a|w|k|nm|ohm|bits|ratio)$")
#: numbers without a unit, and why
WITHOUT_UNIT = {
    "error_mask": "bits",
    "fault_mask": "bits",
    "bias_mode": "a choice",
    "attenuator_mode": "a choice",
}


@EVERY_DRIVER
def test_has_a_summary_a_role_and_a_resource_example(driver: str) -> None:
    info = describe(driver)
    assert info.summary.endswith(".")
    assert info.transport
    parse_resource(info.transport)
    for role in info.role.split(", "):
        assert inspect.isclass(getattr(roles, role))


@EVERY_DRIVER
def test_has_all_methods_of_its_roles(driver: str) -> None:
    found = driver_class(driver)
    for role in describe(driver).role.split(", "):
        protocol = getattr(roles, role)
        wanted = {name for name in dir(protocol) if not name.startswith("_")} | {"snapshot", "make_safe", "close"}
        assert sorted(name for name in wanted if not hasattr(found, name)) == []


@EVERY_DRIVER
def test_methods_take_what_their_role_says(driver: str) -> None:
    found = driver_class(driver)
    for role in describe(driver).role.split(", "):
        protocol = getattr(roles, role)
        for name, method in inspect.getmembers(protocol, inspect.isfunction):
            if not name.startswith("_"):
                wanted = list(inspect.signature(method).parameters)
                assert list(inspect.signature(getattr(found, name)).parameters)[: len(wanted)] == wanted, name


@EVERY_DRIVER
def test_every_public_method_with_a_limit_or_an_error_is_documented(driver: str) -> None:
    found = driver_class(driver)
    assert (inspect.getdoc(inspect.getmodule(found)) or "").strip()
    for name, method in inspect.getmembers(found, inspect.isfunction):
        if "raise " in inspect.getsource(method) and not name.startswith("_"):
            assert inspect.getdoc(method), f"{driver}.{name} raises and does not say so"


@EVERY_DRIVER
def test_settings_are_explained_and_carry_their_unit(driver: str) -> None:
    settings = describe(driver).settings
    assert len({setting.name for setting in settings}) == len(settings)
    for setting in settings:
        assert setting.meaning
        if setting.limits is not None and setting.limits != (0, 1):  # 0 and 1 are no and yes
            assert UNITS.search(setting.name) or setting.name in WITHOUT_UNIT, setting.name
            least, most = setting.limits
            assert least < most


@EVERY_DRIVER
def test_an_unknown_option_is_refused_before_anything_is_opened(driver: str) -> None:
    with pytest.raises(ValueError, match=r"driver '.*' has no option nonsense"):
        open_instrument(driver, "instrument", "tcp:127.0.0.1:1", nonsense=1)


@EVERY_DRIVER
def test_make_safe_is_its_own(driver: str) -> None:
    assert driver_class(driver).make_safe.__qualname__.split(".")[0] == driver_class(driver).__name__


def test_an_unknown_driver_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no driver 'laser'; there are id900, koheron_ctl200"):
        open_instrument("laser", "laser", "serial:/dev/null")


def test_the_registry_imports_no_driver_and_nothing_slow() -> None:
    code = (
        "import sys, drivers.registry; "
        "print([m for m in sys.modules if m.split('.')[0] in ('pyvisa', 'serial', 'zmq', 'numba', 'scipy')"
        " or m.startswith(('drivers.lasers', 'drivers.modulators', 'drivers.meters', 'drivers.detectors'))])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
