"""How the small commands end."""

from __future__ import annotations

import pytest

from benchmark.errors import UsageError
from benchmark.script import script


@pytest.mark.parametrize(
    ("error", "code"), [(UsageError("no such style"), 2), (FileNotFoundError("no such file"), 1)]
)
def test_a_mistake_becomes_a_line_and_an_exit_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    @script
    def main() -> None:
        raise error

    assert main() == code
    assert capsys.readouterr().err == f"error: {error}\n"


def test_work_that_is_done_gives_zero_and_a_defect_keeps_its_traceback() -> None:
    done = []
    assert script(lambda: done.append(1))() == 0 and done == [1]
    with pytest.raises(ZeroDivisionError):
        script(lambda: done.append(1 // 0))()
