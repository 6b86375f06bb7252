import importlib

import pytest

from dec_jax.runner import command
from dec_jax.runner.config import FIELDS, OPTIONS

PARSERS = {
    name: importlib.import_module(f"dec_jax.runner.{module}").parser for name, (module, _) in command.COMMANDS.items()
}


@pytest.mark.parametrize("columns", [80, 100, 200])
@pytest.mark.parametrize("name", PARSERS)
def test_help_fits_a_screen(name, columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as ended:
        command.main([name, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert ended.value.code == 0
    assert len(lines) <= 28
    assert max(map(len, lines)) <= min(columns, 100)
    assert lines[0].startswith(f"usage: dec-jax {name}")
    assert "exit status: 0 done, 2 bad input" in lines[-1]


@pytest.mark.parametrize("name", ["run", "sweep"])
def test_all_options_and_settings_stand_in_the_whole_help(name, capsys):
    with pytest.raises(SystemExit):
        command.main([name, "--help-all"])
    text = capsys.readouterr().out
    for action in PARSERS[name]()._actions:
        for option in action.option_strings:
            assert option in text
    settings = set(FIELDS) - set(OPTIONS.values()) - {"clustering.parameters"}
    assert [setting for setting in settings if f"  {setting} " not in text] == []


def test_all_commands_are_named_and_run_says_what_it_does_alone(capsys):
    assert command.main([]) == 0
    text = capsys.readouterr().out
    assert [name for name in command.COMMANDS if f"\n  {name} " not in text] == []
    assert "dec-jax run, without anything else, clusters handwritten digits" in text
    assert PARSERS["run"]().parse_args([]).data == "digits"
