import shutil
import subprocess

import pytest

from dec_jax.runner import command, completion

pytest.importorskip("shtab")


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_a_script_knows_commands_options_and_words(shell):
    text = completion.script(shell)
    for word in (*command.COMMANDS, "help-all", "label-column", "augmented", "indicator"):
        assert word in text


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_with_it(tmp_path):
    (tmp_path / "script").write_text(completion.script("bash"))
    (tmp_path / "ask").write_text(
        f"source {tmp_path / 'script'}\n"
        "function=$(complete -p dec-jax | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n"
        'COMP_WORDS=(dec-jax a); COMP_CWORD=1; $function dec-jax a dec-jax; echo "${COMPREPLY[@]}"\n'
        'COMP_WORDS=(dec-jax run --preset ""); COMP_CWORD=3; $function dec-jax "" --preset; echo "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(["bash", str(tmp_path / "ask")], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["assign", "demo fast n2d auto plain augmented paper"]


def test_another_shell_and_a_missing_package_are_named(capsys, monkeypatch):
    assert command.main(["completion", "dos"]) == 2
    assert "unknown shell 'dos' (accepted: bash, zsh, fish)" in capsys.readouterr().err
    monkeypatch.setitem(__import__("sys").modules, "shtab", None)
    assert command.main(["completion", "bash"]) == 2
    assert 'pip install "dec_jax[completion]"' in capsys.readouterr().err
