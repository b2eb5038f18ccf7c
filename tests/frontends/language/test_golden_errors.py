"""Every wrong model says what it said when somebody read it. CHAINRULE_UPDATE_GOLDEN=1 writes the messages anew."""

import os
from pathlib import Path

import pytest
from chainrule.frontends.language import ModelError, parse

FOLDER = Path(__file__).resolve().parents[2] / "golden" / "errors"
MODELS = sorted(FOLDER.glob("*.nn"))


def test_there_are_enough() -> None:
    assert len(MODELS) >= 60


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_message(path: Path) -> None:
    with pytest.raises(ModelError) as raised:
        parse(path.read_text(encoding="utf-8"), path.name)
    expected, found = path.with_suffix(".txt"), str(raised.value) + "\n"
    if os.environ.get("CHAINRULE_UPDATE_GOLDEN"):
        expected.write_text(found, encoding="utf-8")
    assert found == expected.read_text(encoding="utf-8")
